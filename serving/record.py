"""What stands behind an endpoint, as written into the cluster.

One ConfigMap per endpoint, found by label, holds the record as JSON: the cluster is the only database. It is written
before each step that changes something, so that whoever comes after a run that died knows what to finish or to undo;
`serving.lifecycle` has the steps.
"""

import json
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from serving.errors import ClusterError
from serving.models import PinnedModel
from serving.spec import EndpointSpec

VERSION = 2
RECORD_KEY = "record.json"
RECORD_LABEL = "inference-flows/record"
KEPT_RELEASES = 10
"""Releases that an endpoint can be rolled back to."""
ENDPOINT_LABEL = "inference-flows/endpoint"


class ReleaseState(StrEnum):
    """What a release is to its endpoint.

    deploying: on its way, not proved. promoting: proved; the endpoint's Service is being pointed at it. serving: the
    Service points at it. paused: the Service points at it and it has no pods, for a candidate needs its accelerators.
    retiring: replaced; its pods stay until `ReleaseRecord.retire_at`. retired: its objects are gone, its weights are
    staged. failed: could not be proved; it is being taken away.
    """

    DEPLOYING = "deploying"
    PROMOTING = "promoting"
    SERVING = "serving"
    PAUSED = "paused"
    RETIRING = "retiring"
    RETIRED = "retired"
    FAILED = "failed"


class SmokeResult(BaseModel):
    """The last smoke test: what was asked and what came back.

    Attributes:
        seconds: Time of the whole answer.
        first_token_seconds: Time to the first token of the same answer as a stream; None if not measured.
        tokens_per_second: Speed of that stream; None if not measured.
        at: When it was, ISO 8601, UTC; empty: when the release was promoted.
        problems: What was wrong with a test that failed.
    """

    model_config = ConfigDict(frozen=True)

    passed: bool
    prompt: str
    answer: str
    seconds: float
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    at: str = ""
    problems: tuple[str, ...] = ()


class ReleaseRecord(BaseModel):
    """One pinned model in one workload. Times are ISO 8601, UTC.

    Attributes:
        spec: What it was rendered from: enough to bring it up again.
        id: Short name of the release, the same for the same spec and commit.
        staged_uri: Where its weights stand; empty if the pods load from the Hub.
        staged_bytes: Bytes below `staged_uri`.
        moved_bytes: Bytes of these that the last run read from the Hub.
        flow_run: Id of the Prefect run that a person started to bring it up; empty outside Prefect.
        state: What it is to its endpoint.
        started_at: When a run began to bring it up.
        deployed_at: When it was promoted; empty if it never was.
        retire_at: When it may go; empty unless it is retiring or retired.
        retired_at: When it was gone.
        replicas: Pods that it had when it was paused; None otherwise.
        smoke: The last test of it: the one that it passed to be promoted, or a check since; None before.
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
    state: ReleaseState = ReleaseState.SERVING
    started_at: str = ""
    deployed_at: str = ""
    retire_at: str = ""
    retired_at: str = ""
    replicas: int | None = None
    smoke: SmokeResult | None = None


class Rejected(BaseModel):
    """A commit that could not be promoted, or was rolled back from: refreshes pass it over until upstream moves."""

    model_config = ConfigDict(frozen=True)

    commit: str
    reason: str
    at: str


class Approved(BaseModel):
    """A commit that a person let refreshes move to.

    Attributes:
        by: Who, as they called themselves; may be empty.
        at: ISO 8601, UTC.
    """

    model_config = ConfigDict(frozen=True)

    commit: str
    by: str
    note: str
    at: str


class Failure(BaseModel):
    """Why the last candidate that failed was not promoted.

    Attributes:
        release: Its id.
        code: Stable name of the failure, as `serving.errors` has it.
        reason: What happened, why and what to do.
        run: Flow run that tried.
        at: ISO 8601, UTC.
    """

    model_config = ConfigDict(frozen=True)

    release: str
    commit: str
    code: str
    reason: str
    run: str
    at: str


class Change(BaseModel):
    """What a run does to the endpoint: stands in the record from before its first step until after its last.

    Attributes:
        run: Flow run that does it.
        started_at: ISO 8601, UTC.
        rejecting: A commit that refreshes pass over once the candidate was promoted.
    """

    model_config = ConfigDict(frozen=True)

    action: Literal["deploy", "refresh", "rollback", "remove"]
    run: str
    started_at: str
    rejecting: Rejected | None = None


class EndpointRecord(BaseModel):
    """An endpoint: what serves, what is on its way, what was before.

    Attributes:
        change: What a run is in the middle of, or was when it died; None if there is nothing to finish.
        candidate: The release that is being brought up; it may be the current one with another number of pods.
        current: The release that the endpoint's Service points at; None while the first one is on its way.
        previous: The releases before it, the newest first.
        rejected: The newest commit that must not be tried again by itself.
        approved: The newest commit that a person approved, where the refresh policy asks for that.
        failed: The last candidate that could not be promoted, if any.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[2] = 2
    change: Change | None = None
    candidate: ReleaseRecord | None = None
    current: ReleaseRecord | None = None
    previous: tuple[ReleaseRecord, ...] = ()
    rejected: Rejected | None = None
    approved: Approved | None = None
    failed: Failure | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, document: Any) -> Any:
        """Version 1 was written after a promotion alone: its current release serves, the others are gone."""
        if not isinstance(document, dict) or document.get("version") != 1:
            return document
        before = [
            {**old, "state": ReleaseState.RETIRED} for old in document.get("previous") or () if isinstance(old, dict)
        ]
        return {**document, "version": VERSION, "previous": before}

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.current is None and self.candidate is None:
            raise ValueError("a record has a current release or a candidate")
        return self

    @property
    def spec(self) -> EndpointSpec:
        """The spec of the release that serves; of the one that is on its way as long as none does."""
        release = self.current or self.candidate
        assert release is not None  # the validator's word
        return release.spec

    @property
    def serving(self) -> ReleaseRecord:
        """The release that serves.

        Raises:
            ValueError: None does yet.
        """
        if self.current is None:
            raise ValueError(f"endpoint {self.spec.namespace}/{self.spec.name} has no release yet")
        return self.current

    @property
    def settled(self) -> bool:
        """Whether there is nothing to finish or to undo."""
        return self.change is None

    @property
    def state(self) -> str:
        """What happens to the endpoint, as one word: ``serving`` if nothing does."""
        if self.change is not None and self.change.action == "remove":
            return "removing"
        if self.candidate is not None:
            return self.candidate.state.value
        return ReleaseState.SERVING.value if self.settled else ReleaseState.RETIRING.value


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
    """Reads a record back, one of an earlier version too.

    Raises:
        ClusterError: The ConfigMap holds no record that this version understands.
    """
    metadata = manifest.get("metadata", {})
    where = f"ConfigMap {metadata.get('namespace')}/{metadata.get('name')}"
    text = manifest.get("data", {}).get(RECORD_KEY, "")
    if (version := _version(text)) > VERSION:
        raise ClusterError(
            f"{where} holds an endpoint record of version {version}; this version of inference-flows knows {VERSION}.",
            cause="A newer version of inference-flows wrote it.",
            fix="Update inference-flows where this run was started.",
            code="record.newer",
        )
    try:
        return EndpointRecord.model_validate_json(text)
    except ValidationError as error:
        raise ClusterError(
            f"{where} holds no endpoint record that can be read ({error.error_count()} problems).",
            cause="It was edited by hand, or written by another version.",
            fix=f"Delete it (kubectl delete configmap -n {metadata.get('namespace')} {metadata.get('name')}) "
            "and deploy the endpoint again.",
            code="record.unreadable",
        ) from error


def _version(text: str) -> int:
    try:
        version = json.loads(text)["version"]
    except (ValueError, LookupError, TypeError):
        return 0
    return version if isinstance(version, int) else 0
