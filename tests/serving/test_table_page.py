"""The page on frameworks shows the table that the rules give, and the table is the rules'."""

from pathlib import Path

import pytest

from serving.__main__ import main
from serving.build import build_spec
from serving.errors import InputError
from serving.frameworks.defaults import default_image
from serving.spec import Framework, WeightsSource
from serving.table import Cell, cells, to_markdown

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"


def test_the_page_shows_the_table_of_today() -> None:
    shown = PAGE.read_text().split("<!-- python -m serving frameworks -->\n")[1].split("<!-- end -->")[0]
    assert shown == to_markdown()


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frameworks"]) == 0
    assert capsys.readouterr().out == to_markdown()


@pytest.mark.parametrize("cell", cells(), ids=lambda cell: f"{cell.framework}-{cell.accelerator}-{cell.weights}")
def test_a_cell_says_what_happens(cell: Cell) -> None:
    image = cell.image or default_image(cell.framework, cell.accelerator)
    given = {"name": "chat", "model": {"repo_id": "org/name"}, "image": image}
    if cell.why:
        with pytest.raises(InputError) as raised:
            build_spec(cell.framework, cell.accelerator, given | {"weights": cell.weights, "image": image or "x/y:1"})
        assert cell.why.split(": ")[0] in str(raised.value)
        return
    assert build_spec(cell.framework, cell.accelerator, given | {"weights": cell.weights}).weights is cell.weights
    if cell.default:
        assert build_spec(cell.framework, cell.accelerator, given).weights is cell.weights


def test_each_possible_pair_has_one_default() -> None:
    pairs = {(cell.framework, cell.accelerator) for cell in cells() if not cell.why}
    assert len([cell for cell in cells() if cell.default]) == len(pairs)
    assert {framework for framework, _ in pairs} == set(Framework)
    assert {cell.weights for cell in cells() if not cell.why} == set(WeightsSource)
