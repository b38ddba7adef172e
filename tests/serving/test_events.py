"""Events: each has a schema, failures of every kind fit theirs, and the documentation says what the models say."""

from pathlib import Path

import pytest

from serving import events
from serving.build import build_spec
from serving.diagnosis import Category, Diagnosis, Evidence
from serving.errors import HubError, InferenceError, InputError, PreflightError, RolloutError, SmokeTestError
from serving.event_reference import reference
from serving.lineage import LONGEST, endpoint_key, hub_key, staged_key
from serving.models import ModelSource, PinnedModel
from serving.record import EndpointRecord, ReleaseRecord, SmokeResult
from serving.report import failure_data
from serving.smoke import SmokeReport
from serving.spec import Accelerator, Framework

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SPEC = build_spec(
    Framework.VLLM, Accelerator.GPU, {"name": "chat", "namespace": "ml", "model": ModelSource(repo_id="org/model")}
)


def release(letter: str = "a") -> ReleaseRecord:
    return ReleaseRecord(
        spec=SPEC,
        id=letter * 10,
        model=PinnedModel(repo_id="org/model", revision="main", commit=letter * 40),
        staged_uri=f"s3://models/org/model/{letter * 40}/",
        staged_bytes=10,
        moved_bytes=10,
        image=SPEC.image,
        flow_run="run",
        deployed_at="2026-11-25T00:00:00+00:00",
        smoke=SmokeResult(passed=True, prompt="Why?", answer="So.", seconds=0.5),
    )


FOUND = Diagnosis(Category.GPU_MEMORY, "cuda-oom", "Too large.", (Evidence("Pod ml/chat", "OOM"),), ("Smaller.",))
FAILURES: dict[str, InferenceError] = {
    "input": InputError("Wrong.", fix="Change it.", code="input.invalid"),
    "several": PreflightError([HubError("Gated.", code="hub.gated"), InputError("Wrong.")]),
    "rollout": RolloutError("Not ready.", FOUND),
    "too late": RolloutError("Not ready.", None, fix="Wait."),
    "smoke": SmokeTestError("ml/chat", SmokeReport(False, "", "org/model", "Why?", "", 0.1, problems=("Empty.",))),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_of_any_kind_fits_its_event(kind: str) -> None:
    event = events.EndpointFailed.model_validate(failure_data(SPEC, FAILURES[kind]))
    assert event.code == FAILURES[kind].code
    assert event.payload()["message"] == str(FAILURES[kind])
    assert event.resource()["prefect.resource.id"] == "inference.endpoint.ml.chat"
    assert event.resource()["inference.code"] == event.code


def test_an_event_of_a_serving_endpoint_names_model_release_and_what_was_before() -> None:
    after = EndpointRecord(current=release("b"), previous=(release("a"),))
    event = events.ready(after, 7, {"check": 0.5})
    assert (event.commit, event.previous_commit, event.previous_release) == ("b" * 40, "a" * 40, "a" * 10)
    assert event.related() == [
        {"prefect.resource.id": "inference.model.org/model", "prefect.resource.role": "model"},
        {"prefect.resource.id": f"s3://models/org/model/{'b' * 40}/", "prefect.resource.role": "staged-model"},
    ]
    assert events.rolled_back(after).from_release == "a" * 10
    assert events.refreshed(after).previous_commit == "a" * 40
    assert events.ready(EndpointRecord(current=release()), 0, {}).previous_release == ""


@pytest.mark.parametrize("name", events.EVENTS)
def test_every_event_says_what_it_and_its_fields_mean(name: str) -> None:
    event = events.EVENTS[name]
    assert event.name == name
    assert name.startswith(("inference.model.", "inference.endpoint."))
    assert event.meaning.endswith(".")
    assert all(field.description for field in event.model_fields.values())


def test_the_documentation_holds_the_reference() -> None:
    assert reference() in DOCS.read_text(), "write what `python -m serving events` prints into docs/observability.md"


def test_lineage_keys_are_keys_for_prefect_or_empty() -> None:
    from prefect.assets import Asset

    pinned = PinnedModel(repo_id="org/model", revision="main", commit=COMMIT)
    for key in (
        hub_key(pinned),
        staged_key(f"s3://models/org/model/{COMMIT}/"),
        endpoint_key("arn:aws:eks:us-west-2:111122223333:cluster/prod", "ml", "chat"),
        endpoint_key("https://10.0.0.1:6443", "ml", "chat"),
    ):
        assert Asset(key=key).key == key
    assert endpoint_key("https://10.0.0.1:6443", "ml", "chat") == "kubernetes://10.0.0.1:6443/ml/chat"
    assert staged_key("s3://models/a b/") == ""
    assert staged_key(f"s3://models/{'x' * LONGEST}/") == ""
