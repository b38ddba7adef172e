"""What stands behind an endpoint, as written into the cluster.

One ConfigMap per endpoint, found by label, holds the record as JSON: the cluster is the only database.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import ClusterError
from serving.models import PinnedModel
from serving.spec import EndpointSpec

RECORD_KEY = "record.json"
RECORD_LABEL = "inference-flows/record"
KEPT_RELEASES = 10
"""Releases that an endpoint can be rolled back to."""
ENDPOINT_LABEL = "inference-flows/endpoint"


class SmokeResult(BaseModel):
    """The last smoke test: what was asked and what came back.

    Attributes:
        seconds: Time of the whole answer.
        first_token_seconds: Time to the first token of the same answer as a stream; None if not measured.
        tokens_per_second: Speed of that stream; None if not measured.
    """

    model_config = ConfigDict(frozen=True)

    passed: bool
    prompt: str
    answer: str
    seconds: float
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None


class ReleaseRecord(BaseModel):
    """One pinned model in one workload, as it was brought up.

    Attributes:
        spec: What it was rendered from: enough to bring it up again.
        id: Short name of the release, the same for the same spec and commit.
        staged_uri: Where its weights stand; empty if the pods load from the Hub.
        staged_bytes: Bytes below `staged_uri`.
        moved_bytes: Bytes of these that the last run read from the Hub.
        flow_run: Id of the Prefect run that a person started to bring it up; empty outside Prefect.
        deployed_at: ISO 8601, UTC.
    """

    model_config = ConfigDict(frozen=True)

    spec: EndpointSpec
    id: str
    model: PinnedModel
    staged_uri: str
    staged_bytes: int
    moved_bytes: int
    image: str
    flow_run: str
    deployed_at: str
    smoke: SmokeResult | None = None


class Rejected(BaseModel):
    """A commit that could not be promoted, or was rolled back from: refreshes pass it over until upstream moves."""

    model_config = ConfigDict(frozen=True)

    commit: str
    reason: str
    at: str


class EndpointRecord(BaseModel):
    """An endpoint as it was last deployed.

    Attributes:
        current: The release that serves.
        previous: The releases before it, the newest first.
        rejected: The newest commit that must not be tried again by itself.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    current: ReleaseRecord
    previous: tuple[ReleaseRecord, ...] = ()
    rejected: Rejected | None = None

    @property
    def spec(self) -> EndpointSpec:
        """The spec of the release that serves."""
        return self.current.spec

    def succeeded_by(self, release: ReleaseRecord, *, rejected: Rejected | None = None) -> "EndpointRecord":
        """The record once another release serves: this one's release joins those before, each named once."""
        before = [old for old in (self.current, *self.previous) if old.id != release.id]
        return EndpointRecord(current=release, previous=tuple(before[:KEPT_RELEASES]), rejected=rejected)


def record_name(endpoint: str) -> str:
    """Name of the ConfigMap that holds the endpoint's record."""
    return f"{endpoint}-record"


def to_manifest(record: EndpointRecord) -> dict[str, Any]:
    """Returns the ConfigMap that holds the record."""
    spec = record.spec
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": record_name(spec.name),
            "namespace": spec.namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "inference-flows",
                ENDPOINT_LABEL: spec.name,
                RECORD_LABEL: "true",
            },
        },
        "data": {RECORD_KEY: record.model_dump_json(indent=1)},
    }


def from_manifest(manifest: dict[str, Any]) -> EndpointRecord:
    """Reads a record back.

    Raises:
        ClusterError: The ConfigMap holds no record that this version understands.
    """
    metadata = manifest.get("metadata", {})
    where = f"ConfigMap {metadata.get('namespace')}/{metadata.get('name')}"
    try:
        return EndpointRecord.model_validate_json(manifest.get("data", {}).get(RECORD_KEY, ""))
    except ValidationError as error:
        raise ClusterError(
            f"{where} holds no endpoint record that can be read ({error.error_count()} problems).",
            cause="It was edited by hand, or written by another version.",
            fix=f"Delete it (kubectl delete configmap -n {metadata.get('namespace')} {metadata.get('name')}) "
            "and deploy the endpoint again.",
            code="record.unreadable",
        ) from error
