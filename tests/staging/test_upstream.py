"""How far a commit is behind its branch, and what a newer one changes: asked of a Hub with few requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.hub import HubServer, serve_hub
from sandbox.hub_content import HubContent
from serving.errors import HubError
from serving.models import ModelSource, PinnedModel
from staging.hub import HubAccess, HubFile, list_files
from staging.upstream import CARD, FileChange, card_diff, compare, upstream

REPO = "org/model"


@pytest.fixture(scope="module")
def hub() -> HubServer:
    content = HubContent()
    for number in range(60):
        content.commit(REPO, {"config.json": f'{{"number": {number}}}'.encode()}, title=f"Number {number}")
    with serve_hub(content) as server:
        yield server


def access(hub: HubServer) -> HubAccess:
    return HubAccess(hub.url)


def test_a_branch_and_how_far_behind_it_is(hub: HubServer) -> None:
    history = hub.content[REPO].history(hub.content[REPO].commits[hub.content[REPO].branches["main"]])
    asked = len(hub.requests)
    found = upstream(ModelSource(repo_id=REPO), access(hub))
    assert len(hub.requests) - asked == 1
    assert [one.sha for one in found.commits] == [one.sha for one in history[:50]]
    assert found.commits[0].title == "Number 59"
    assert not found.complete
    assert found.behind(history[0].sha) == ""
    assert found.behind(history[1].sha).startswith("1 commit since 2026-01-03")
    assert found.behind(history[3].sha).startswith("3 commits since ")
    assert found.behind(history[55].sha).startswith("50+ commits since ")


def test_a_branch_that_is_not_there(hub: HubServer) -> None:
    with pytest.raises(HubError) as caught:
        upstream(ModelSource(repo_id=REPO, revision="dev"), access(hub))
    assert caught.value.code == "hub.revision_missing"


def test_files_and_cards_of_two_commits(hub: HubServer) -> None:
    def pinned(commit: str) -> PinnedModel:
        return PinnedModel(repo_id="org/cards", revision="main", commit=commit)

    weights = {"model.safetensors": b"1" * 40, "vocab.txt": b"a\n", CARD: b"# Model\n\nFirst.\n"}
    old = pinned(hub.content.commit("org/cards", {**weights, "old.json": b"{}"}))
    changed = {"model.safetensors": b"2" * 50, "new.json": b"[]", "old.json": None, CARD: b"# Model\n\nSecond."}
    new = pinned(hub.content.commit("org/cards", changed))
    files = compare(list_files(old, access(hub)), list_files(new, access(hub)))
    assert [(one.path, one.change, one.before, one.after) for one in files] == [
        (CARD, FileChange.CHANGED, 16, 16),
        ("model.safetensors", FileChange.CHANGED, 40, 50),
        ("new.json", FileChange.ADDED, None, 2),
        ("old.json", FileChange.REMOVED, 2, None),
    ]
    diff = card_diff(old, new, access(hub))
    assert "-First.\n" in diff
    assert "+Second.\n" in diff
    assert card_diff(new, new, access(hub)) == ""


FILES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), max_size=6)


@given(FILES, FILES)
def test_what_is_compared_is_what_differs(old: dict[str, int], new: dict[str, int]) -> None:
    def files(found: dict[str, int]) -> list[HubFile]:
        return [HubFile(path, size, f"blob-{size}") for path, size in found.items()]

    differing = {one.path for one in compare(files(old), files(new))}
    assert differing == {path for path in {*old, *new} if old.get(path) != new.get(path)}
