"""docs/troubleshooting.md knows every topic, category and reason that the code can say."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.diagnosis import TOPICS, Category, Topic
from serving.findings.signatures import Signature
from serving.findings.words import SIGNATURES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
PARTS = dict(re.findall(r"^### `([^`]+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def literal_reasons() -> Iterator[tuple[str, str]]:
    """Category and reason of each finding that spells them out: ``Diagnosis(Category.X, "reason", …)``."""
    for path in sorted((ROOT / "serving" / "findings").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
                continue
            arguments = [ast.unparse(argument) for argument in node.args[:2]]
            if node.func.id == "unschedulable":
                arguments.insert(0, "Category.UNSCHEDULABLE")
            elif node.func.id != "Diagnosis":
                continue
            category, reason = arguments[0].removeprefix("Category."), arguments[1]
            if category in Category.__members__ and re.fullmatch(r"'[a-z0-9-]+'", reason):
                yield Category[category].value, reason.strip("'")


def test_every_category_stands_under_its_topic() -> None:
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
    assert set(sections) >= {topic.value for topic in Topic}
    for category in Category:
        topic = TOPICS.get(category, Topic.OTHER)
        assert f"### `{category.value}`" in sections[topic.value], category


def test_every_reason_stands_under_its_category() -> None:
    spelled = list(literal_reasons())
    assert len(spelled) > 60
    for category, reason in spelled:
        assert f"`{reason}`" in PARTS[category], f"{category}/{reason}"


@pytest.mark.parametrize("entry", SIGNATURES, ids=lambda entry: f"{entry.category}-{entry.reason}")
def test_what_logs_say_is_explained(entry: Signature) -> None:
    assert f"`{entry.reason}`" in PARTS[entry.category.value]
