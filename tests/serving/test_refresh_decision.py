"""What a refresh does with an endpoint, by its record, its policy and its branch."""

from datetime import UTC, datetime
from typing import Any

import pytest

from serving.build import build_spec
from serving.errors import HubError, InferenceError
from serving.models import PinnedModel
from serving.record import Approved, Change, EndpointRecord, Rejected, ReleaseRecord
from serving.refresh import Step, decide, follows
from serving.spec import Accelerator, Framework

OLD, NEW = "a" * 40, "b" * 40
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NIGHT = {"opens": "22:00", "closes": "04:00"}


def pinned(commit: str) -> PinnedModel:
    return PinnedModel(repo_id="org/model", revision="main", commit=commit)


def record(policy: dict[str, Any], *, revision: str = "main", **fields: Any) -> EndpointRecord:
    model = {"repo_id": "org/model", "revision": revision}
    spec = build_spec(Framework.VLLM, Accelerator.GPU, {"name": "chat", "model": model, "refresh": policy})
    release = ReleaseRecord(
        spec=spec,
        id="0123456789",
        model=pinned(OLD),
        staged_uri="",
        staged_bytes=0,
        moved_bytes=0,
        image=spec.image,
        flow_run="",
    )
    return EndpointRecord(current=release, **fields)


@pytest.mark.parametrize(
    ("policy", "newest", "fields", "step"),
    [
        ({}, pinned(OLD), {}, Step.CURRENT),
        ({}, pinned(NEW), {}, Step.MOVES),
        ({}, HubError("It is away.", code="hub.unreachable"), {}, Step.UNKNOWN),
        ({"mode": "pinned"}, None, {}, Step.PINNED),
        ({"mode": "pinned"}, pinned(NEW), {}, Step.PINNED),
        ({}, pinned(NEW), {"rejected": Rejected(commit=NEW, reason="rolled back", at="")}, Step.PASSED_OVER),
        ({}, pinned(NEW), {"rejected": Rejected(commit=OLD, reason="rolled back", at="")}, Step.MOVES),
        (NIGHT, pinned(NEW), {}, Step.WAITS),
        (NIGHT, pinned(OLD), {}, Step.CURRENT),
        ({"approval": True}, pinned(NEW), {}, Step.ASKS),
        ({"approval": True, **NIGHT}, pinned(NEW), {}, Step.ASKS),
        ({"approval": True}, pinned(NEW), {"approved": Approved(commit=NEW, by="", note="", at="")}, Step.MOVES),
        ({"approval": True}, pinned(NEW), {"approved": Approved(commit=OLD, by="", note="", at="")}, Step.ASKS),
        (
            {"approval": True, **NIGHT},
            pinned(NEW),
            {"approved": Approved(commit=NEW, by="", note="", at="")},
            Step.WAITS,
        ),
    ],
)
def test_steps(
    policy: dict[str, Any], newest: PinnedModel | InferenceError | None, fields: dict[str, Any], step: Step
) -> None:
    assert decide(record(policy, **fields), newest, NOON).step is step


def test_an_endpoint_that_is_being_removed_is_passed_over() -> None:
    leaving = record({}, change=Change(action="remove", run="", started_at=""))
    assert decide(leaving, pinned(NEW), NOON).step is Step.PASSED_OVER


def test_a_closed_window_says_when_it_opens_and_may_be_ignored() -> None:
    one = record({**NIGHT, "timezone": "Asia/Seoul"})
    waiting = decide(one, pinned(NEW), NOON)
    assert waiting.why == "Commit bbbbbbbbbbbb may move from Wednesday 2026-11-25 22:00 (Asia/Seoul) on."
    assert decide(one, pinned(NEW), NOON, ignore_windows=True).step is Step.MOVES


def test_an_endpoint_of_a_commit_follows_nothing() -> None:
    assert not follows(record({}, revision=OLD))
    assert not follows(record({"mode": "pinned"}))
    assert follows(record({}))
