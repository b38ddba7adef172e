"""The table of endpoints: how far each is behind its branch, and who has none."""

import pytest

from blocks.hub import HuggingFaceHub
from serving.build import build_spec
from serving.models import PinnedModel
from serving.record import EndpointRecord, ReleaseRecord
from serving.spec import Accelerator, Framework
from tasks.listing import ask_branches, behind

COMMIT = "a" * 40


def record(framework: Framework, revision: str = "main") -> EndpointRecord:
    given = {"name": "chat", "model": {"repo_id": "org/name", "revision": revision}, "image": "example.com/x:1"}
    spec = build_spec(framework, Accelerator.GPU, given)
    release = ReleaseRecord(
        spec=spec,
        id="0123456789",
        model=PinnedModel(repo_id="org/name", revision=revision, commit=COMMIT),
        staged_uri="",
        staged_bytes=0,
        moved_bytes=0,
        image=spec.image,
        flow_run="",
    )
    return EndpointRecord(current=release)


@pytest.mark.parametrize(
    "one", [record(Framework.NIM), record(Framework.VLLM, COMMIT)], ids=["a NIM's model is its image's", "a commit"]
)
def test_an_endpoint_of_no_branch_is_behind_nothing_and_the_hub_is_not_asked(one: EndpointRecord) -> None:
    nobody = HuggingFaceHub(endpoint="http://127.0.0.1:9").access()
    assert ask_branches([one], nobody) == {}
    assert behind(one, None) == "follows no branch"
    assert behind(record(Framework.VLLM), None) == "not asked"
