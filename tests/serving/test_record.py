"""The record: what each step of an endpoint's life leaves, what earlier versions wrote, what later ones will."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from serving.build import build_spec
from serving.diagnosis import Category, Diagnosis
from serving.errors import ClusterError, RolloutError
from serving.lifecycle import begun, failed, paused, promoted, proved, removing, retired, retiring, undone
from serving.models import PinnedModel
from serving.record import (
    RECORD_KEY,
    Change,
    EndpointRecord,
    Failure,
    Rejected,
    ReleaseRecord,
    SmokeResult,
    from_manifest,
    to_manifest,
)
from serving.release import release_of
from serving.rollback import blames_model, choose_release, with_present_rules
from serving.smoke import expectation_for
from serving.spec import Accelerator, EndpointSpec, Framework

SMOKE = SmokeResult(passed=True, prompt="one", answer="two", seconds=0.5)
DEPLOY = Change(action="deploy", run="run-1", started_at="2026-11-25T10:00:00+00:00")


def spec_of(**fields: Any) -> EndpointSpec:
    given = {"name": "chat", "namespace": "inference", "model": {"repo_id": "org/name"}, **fields}
    return build_spec(Framework.VLLM, Accelerator.GPU, given)


def release(name: str, commit: str = "a", **fields: Any) -> ReleaseRecord:
    spec = spec_of(**fields)
    return ReleaseRecord(
        spec=spec,
        id=name,
        model=PinnedModel(repo_id="org/name", revision="main", commit=commit * 40),
        staged_uri="s3://models/org/name/",
        staged_bytes=1,
        moved_bytes=1,
        image=spec.image,
        flow_run="run-1",
    )


def deployed(record: EndpointRecord | None, candidate: ReleaseRecord) -> EndpointRecord:
    return retired(promoted(proved(begun(record, candidate, DEPLOY), SMOKE)))


def states(record: EndpointRecord) -> list[str]:
    found = (record.candidate, record.current, *record.previous)
    return [f"{one.id} {one.state.value}" for one in found if one is not None]


def test_a_release_replaces_another_step_by_step() -> None:
    first = deployed(None, release("one"))
    assert (states(first), first.state, first.settled) == (["one serving"], "serving", True)
    assert first.current is not None
    assert first.current.smoke == SMOKE
    coming = begun(first, release("two", "b"), DEPLOY)
    assert (states(coming), coming.state, coming.settled) == (["two deploying", "one serving"], "deploying", False)
    switching = proved(coming, SMOKE)
    assert (states(switching), switching.state) == (["two promoting", "one serving"], "promoting")
    switched = promoted(switching)
    assert (states(switched), switched.state) == (["two serving", "one retiring"], "retiring")
    assert [old.id for old in retiring(switched)] == ["one"]
    done = retired(switched)
    assert (states(done), done.state, done.settled) == (["two serving", "one retired"], "serving", True)
    assert states(deployed(done, release("one"))) == ["one serving", "two retired"]


def test_a_candidate_that_fails_leaves_what_was_and_why() -> None:
    before = deployed(None, release("one"))
    why = Failure(release="two", commit="b" * 40, code="smoke.failed", reason="No answer.", run="run-2", at="now")
    rejected = Rejected(commit="b" * 40, reason="No answer.", at="now")
    coming = paused(begun(before, release("two", "b"), DEPLOY), 3)
    assert (states(coming), coming.state) == (["two deploying", "one paused"], "deploying")
    again = paused(coming, 0)
    assert again.current is not None
    assert again.current.replicas == 3
    told = failed(again, why, rejected=rejected)
    assert (states(told), told.state) == (["two failed", "one paused"], "failed")
    back = undone(told)
    assert back == before.model_copy(update={"failed": why, "rejected": rejected})


def test_a_first_release_that_fails_leaves_no_endpoint() -> None:
    assert undone(begun(None, release("one"), DEPLOY)) is None


def test_a_commit_stays_rejected_until_another_is_served() -> None:
    first, second = deployed(None, release("one")), release("two", "b")
    rollback = DEPLOY.model_copy(update={"rejecting": Rejected(commit="b" * 40, reason="", at="")})
    back = promoted(begun(deployed(first, second), release("one"), rollback))
    assert back.rejected == rollback.rejecting
    scaled = deployed(back, release("one", replicas=2))
    assert scaled.rejected == back.rejected
    assert deployed(scaled, release("three", "c")).rejected is None


def test_an_endpoint_that_is_removed_says_so() -> None:
    going = removing(deployed(None, release("one")), Change(action="remove", run="run-9", started_at="now"))
    assert (going.state, going.settled) == ("removing", False)


def test_it_comes_back_from_the_cluster_as_it_was_written() -> None:
    record = begun(deployed(None, release("one")), release("two", "b", replicas=2), DEPLOY)
    assert from_manifest(to_manifest(record)) == record


def version_1() -> dict[str, Any]:
    """As version 1 wrote it: no change, no candidate, no states."""
    new = {"state", "started_at", "retire_at", "retired_at", "replicas"}
    one, two = (
        release(name).model_dump(mode="json", exclude=new) | {"deployed_at": "2026-11-01T10:00:00+00:00"}
        for name in ("one", "two")
    )
    for entry in (one, two):
        del entry["spec"]["rollout"]
    return {"version": 1, "current": two, "previous": [one], "rejected": None}


def manifest_of(document: object) -> dict[str, Any]:
    metadata = {"name": "chat-record", "namespace": "inference"}
    return {"metadata": metadata, "data": {RECORD_KEY: json.dumps(document)}}


def test_a_record_of_version_1_is_read() -> None:
    record = from_manifest(manifest_of(version_1()))
    assert (record.version, states(record), record.settled) == (2, ["two serving", "one retired"], True)
    assert from_manifest(to_manifest(record)) == record


def test_a_record_of_a_later_version_is_left_alone() -> None:
    with pytest.raises(ClusterError, match="Update inference-flows") as caught:
        from_manifest(manifest_of({"version": 3}))
    assert caught.value.code == "record.newer"


@pytest.mark.parametrize("document", [{}, [], {"version": 2}, {"version": 1, "current": 5}, "text"])
def test_what_is_no_record_is_said_to_be_none(document: object) -> None:
    with pytest.raises(ClusterError) as caught:
        from_manifest(manifest_of(document))
    assert caught.value.code == "record.unreadable"


def test_a_record_of_nothing_is_none() -> None:
    with pytest.raises(ValidationError):
        EndpointRecord()


@pytest.mark.parametrize(
    "fields",
    [
        {"rollout": {"strategy": "recreate", "retire_after": 0}},
        {"smoke": {"prompt": "What is seven times eight?", "expect": "56", "max_seconds": 5.0}},
    ],
)
def test_how_a_release_takes_over_and_is_proved_is_no_part_of_its_name(fields: dict[str, Any]) -> None:
    model = PinnedModel(repo_id="org/name", revision="main", commit="a" * 40)
    assert release_of(spec_of(), model, None).id == release_of(spec_of(**fields), model, None).id


def test_the_question_is_kept_and_one_from_before_it_was_kept_is_the_projects_own() -> None:
    smoke = {"prompt": "What is seven times eight?", "expect": "56"}
    record = from_manifest(to_manifest(deployed(None, release("one", smoke=smoke))))
    asked = expectation_for(record.spec)
    assert (asked.prompt, asked.expect) == ("What is seven times eight?", "56")
    before = record.model_dump(mode="json")
    del before["current"]["spec"]["smoke"]
    assert expectation_for(from_manifest(manifest_of(before)).spec) == expectation_for(spec_of())


def test_a_release_is_asked_its_own_question_when_it_comes_back() -> None:
    """The question of the release after it may be one that it never could answer."""
    first = deployed(None, release("one", smoke={"expect": "one"}))
    second = deployed(first, release("two", "b", smoke={"expect": "two"}, rollout={"strategy": "recreate"}))
    back = with_present_rules(choose_release(second).spec, second)
    assert back.smoke.expect == "one"
    assert back.rollout.strategy == "recreate"


@pytest.mark.parametrize(
    ("category", "reason", "blamed"),
    [
        (Category.ENGINE, "argument", True),
        (Category.STORE_ACCESS, "denied", False),
        # What is staged was compared with the Hub: the commit itself holds a broken file.
        (Category.STORE_ACCESS, "damaged", True),
        (Category.NODE, "lost", False),
    ],
)
def test_which_failures_are_a_commits_own(category: Category, reason: str, blamed: bool) -> None:
    found = Diagnosis(category, reason, "Why.", (), ())
    assert blames_model(RolloutError("It is not ready.", found)) is blamed
