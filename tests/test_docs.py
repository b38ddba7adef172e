"""The documentation: generated pages are what the code says, no link is dead, both READMEs say the same."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Anchors of the page's headings, as the common renderers make them."""
    headings = re.findall(r"^#{1,6} +(.+?)\s*$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    dead = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_picture_is_shown_somewhere() -> None:
    shown = {Path(link).name for page in PAGES for link in LINK.findall(page.read_text(encoding="utf-8"))}
    assert {picture.name for picture in (ROOT / "docs" / "images").iterdir()} <= shown


def test_the_page_of_flows_is_what_the_flows_say() -> None:
    from deployments.flow_reference import PATH, text

    assert PATH.read_text(encoding="utf-8") == text(), "run python -m deployments.flow_reference"


def test_both_readmes_have_the_same_parts_commands_and_links() -> None:
    english, korean = ROOT / "README.md", ROOT / "README.ko.md"
    texts = [page.read_text(encoding="utf-8") for page in (english, korean)]

    def same(pattern: str) -> bool:
        first, second = (re.findall(pattern, text, re.MULTILINE | re.DOTALL) for text in texts)
        return first == second and bool(first)

    assert same(r"^(#+) (?=[^\n]+$)"), "headings"
    assert same(r"^```.*?^```"), "commands"
    assert same(r"\]\(([^)\s]+)\)"), "links"
    assert same(r"^(\|)[^\n]*\|$"), "rows of tables"
