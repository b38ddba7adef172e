"""Imports run one way between the rooms (flows → tasks → blocks, serving, staging, kube)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "serving": set(),
    "staging": {"serving"},
    "kube": {"serving"},
    "blocks": {"serving", "staging", "kube"},
    "tasks": {"blocks", "serving", "staging", "kube"},
    "flows": {"tasks", "blocks", "serving", "staging", "kube"},
    "deployments": {"flows", "tasks", "blocks", "serving", "staging", "kube"},
    "sandbox": {"deployments", "blocks", "serving", "staging", "kube"},
}
ROOMS = {*ALLOWED, "benchmarks", "tests"}
NO_PREFECT = {"serving", "staging", "kube"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        beyond = (imported(path) & ROOMS) - {room} - ALLOWED[room]
        assert not beyond, f"{path.relative_to(ROOT)} imports {sorted(beyond)}"


@pytest.mark.parametrize("room", sorted(NO_PREFECT))
def test_light_rooms_import_no_prefect(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        heavy = {name for name in imported(path) if name.startswith("prefect")}
        assert not heavy, f"{path.relative_to(ROOT)} imports {heavy}"
