"""A later version that makes other pods of the same spec makes another release: no release rolls in place."""

import itertools

import pytest

from serving.build import build_spec
from serving.models import PinnedModel
from serving.release import RENDERING, release_of
from serving.spec import Accelerator, EndpointSpec, Framework
from tests.serving.rendered_pods import digest, held, specs

MODEL = PinnedModel(repo_id="org/name", revision="main", commit="a" * 40)


def plain() -> EndpointSpec:
    given = {"name": "chat", "namespace": "inference", "model": {"repo_id": "org/name"}}
    return build_spec(Framework.VLLM, Accelerator.GPU, given | {"image": "vllm/vllm-openai:v0.18.0"})


def test_whoever_changes_pods_raises_the_number() -> None:
    wanted = held().get(str(RENDERING), {})
    found = {name: digest(spec) for name, spec in specs()}
    missing = sorted(found.keys() - wanted.keys())
    assert not missing, f"run python -m tests.serving.rendered_pods and commit what it writes, for {missing}"
    changed = sorted(name for name in found if found[name] != wanted[name])
    assert not changed, (
        f"The pods of {len(changed)} specs are not those of RENDERING {RENDERING} any more: {', '.join(changed[:9])} … "
        "Releases that run would be rolled in place, unproved. If that change is wanted: raise RENDERING in "
        "serving/release.py by one, run python -m tests.serving.rendered_pods, commit tests/data/serving/"
        "rendered_pods.json with it, and say in docs/upgrading.md what changed."
    )


def test_a_raised_number_has_a_reason() -> None:
    numbers = sorted(map(int, held()))
    assert numbers == list(range(1, RENDERING + 1))
    for before, after in itertools.pairwise(numbers):
        old, new = held()[str(before)], held()[str(after)]
        assert any(old[name] != new[name] for name in old.keys() & new.keys()), f"{after} renders what {before} did"


def test_every_framework_is_looked_at() -> None:
    assert {spec.framework for _, spec in specs()} == set(Framework)


def test_names_of_releases_from_before_the_number_was_counted_stay() -> None:
    assert RENDERING > 1 or release_of(plain(), MODEL, None).id == "e5cf246af4"


def test_another_number_is_another_release(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = set()
    for number in (1, 2, 3):
        monkeypatch.setattr("serving.release.RENDERING", number)
        ids.add(release_of(plain(), MODEL, None).id)
    assert len(ids) == 3
    assert "e5cf246af4" in ids
