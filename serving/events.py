"""What the flows tell Prefect's event system: one model per event, its fields the payload. Pure.

Automations match on an event's name and on the labels of its resource; `docs/observability.md` lists all of them.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from serving.models import PinnedModel
from serving.record import EndpointRecord, ReleaseRecord
from serving.spec import EndpointSpec

MODEL_RESOURCE = "inference.model"
ENDPOINT_RESOURCE = "inference.endpoint"

Labels = dict[str, str]


class Event(BaseModel):
    """Something that happened. Its fields are the payload.

    Attributes:
        name: Name of the event: stable, automations match on it.
        meaning: One sentence for the reference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = ""
    meaning: ClassVar[str] = ""

    def resource(self) -> Labels:
        """Returns what it happened to."""
        raise NotImplementedError

    def related(self) -> list[Labels]:
        """Returns what else it is about; Prefect adds run, deployment and tags by itself."""
        return []

    def payload(self) -> dict[str, Any]:
        """Returns the event's data as JSON can hold it."""
        return self.model_dump(mode="json")


class ModelEvent(Event):
    """Something that happened to one commit of a Hub repository."""

    model: str = Field(description="Hub repository")
    revision: str = Field(description="Branch, tag or commit that was asked for")
    commit: str = Field(description="The commit that it was")
    uri: str = Field(description="Where it is staged")

    def resource(self) -> Labels:
        """Returns the repository; the commit is a label."""
        return {
            "prefect.resource.id": f"{MODEL_RESOURCE}.{self.model}",
            "prefect.resource.name": self.model,
            "inference.commit": self.commit,
        }

    def related(self) -> list[Labels]:
        """Returns the staged model."""
        return [{"prefect.resource.id": self.uri, "prefect.resource.role": "staged-model"}]


class ModelStaged(ModelEvent):
    """A commit became available."""

    name: ClassVar[str] = "inference.model.staged"
    meaning: ClassVar[str] = "A commit was staged, every byte verified. Not sent for a commit that was staged before."

    files: int = Field(description="Files of the staged model")
    bytes: int = Field(description="Bytes of these")
    moved_bytes: int = Field(description="Bytes of these that were read from the Hub")
    seconds: float = Field(description="Time of the transfer")


class ModelPruned(ModelEvent):
    """A staged commit was deleted."""

    name: ClassVar[str] = "inference.model.pruned"
    meaning: ClassVar[str] = "A staged commit that no release uses was deleted from the store."

    bytes: int = Field(description="Bytes that were freed")


class EndpointEvent(Event):
    """Something that happened to an endpoint."""

    endpoint: str = Field(description="Name of the endpoint")
    namespace: str = Field(description="Its Kubernetes namespace")

    def resource(self) -> Labels:
        """Returns the endpoint; what it is made of are labels, where the event knows it."""
        labels = {
            "prefect.resource.id": endpoint_resource(self.namespace, self.endpoint),
            "prefect.resource.name": self.endpoint,
            "inference.namespace": self.namespace,
        }
        for field in ("framework", "accelerator", "preset", "model", "commit", "code"):
            value = getattr(self, field, "")
            if value:
                labels[f"inference.{field}"] = str(value)
        return labels

    def related(self) -> list[Labels]:
        """Returns the model that it serves, and where that is staged."""
        found = []
        if model := getattr(self, "model", ""):
            found.append({"prefect.resource.id": f"{MODEL_RESOURCE}.{model}", "prefect.resource.role": "model"})
        if uri := getattr(self, "staged_uri", ""):
            found.append({"prefect.resource.id": uri, "prefect.resource.role": "staged-model"})
        return found


class ServingEvent(EndpointEvent):
    """Something that happened to an endpoint that serves a release."""

    framework: str = Field(description="Serving stack")
    accelerator: str = Field(description="What the engine computes on")
    preset: str = Field(default="", description="Catalogue entry; empty: none")
    model: str = Field(description="Hub repository")
    revision: str = Field(description="Branch, tag or commit that is followed")
    commit: str = Field(description="The commit that is served")
    release: str = Field(description="The release that serves")


class EndpointReady(ServingEvent):
    """A deploy ended well."""

    name: ClassVar[str] = "inference.endpoint.ready"
    meaning: ClassVar[str] = "A deploy, refresh or rollback ended well: the endpoint answers and its record is written."

    image: str = Field(description="Container image")
    replicas: int = Field(description="Pods asked for")
    staged_uri: str = Field(default="", description="Where the weights stand; empty if the pods load from the Hub")
    staged_bytes: int = Field(default=0, description="Bytes below it")
    moved_bytes: int = Field(default=0, description="Bytes that this run read from the Hub")
    step_seconds: dict[str, float] = Field(default={}, description="Seconds per step, in order")
    smoke_seconds: float | None = Field(default=None, description="Time of the smoke test's answer")
    first_token_seconds: float | None = Field(default=None, description="Time to its first token")
    tokens_per_second: float | None = Field(default=None, description="Speed of its stream")
    previous_release: str = Field(default="", description="The release that served before; empty: none")
    previous_commit: str = Field(default="", description="Its commit")
    flow_run: str = Field(default="", description="Run that a person or schedule started")


class EndpointPromoted(ServingEvent):
    """Clients get to another release."""

    name: ClassVar[str] = "inference.endpoint.promoted"
    meaning: ClassVar[str] = "The endpoint's Service points at another release from now on."

    previous_release: str = Field(default="", description="The release that it pointed at before; empty: none")


class EndpointRolledBack(ServingEvent):
    """An earlier release serves again."""

    name: ClassVar[str] = "inference.endpoint.rolled-back"
    meaning: ClassVar[str] = "An earlier release serves again, by a rollback that somebody asked for."

    from_release: str = Field(description="The release that served until then")
    from_commit: str = Field(description="Its commit")


class EndpointRefreshed(ServingEvent):
    """The endpoint followed its branch."""

    name: ClassVar[str] = "inference.endpoint.refreshed"
    meaning: ClassVar[str] = "A refresh took the endpoint to the commit that its branch is now."

    previous_commit: str = Field(description="The commit that it served before")


class EndpointRefreshFailed(ServingEvent):
    """The endpoint stays at its commit; `commit` is the one that it still serves."""

    name: ClassVar[str] = "inference.endpoint.refresh-failed"
    meaning: ClassVar[str] = "The branch's new commit could not be proved: the endpoint serves what it served."

    rejected_commit: str = Field(description="The commit that could not be proved")
    message: str = Field(description="Why, and what to do")


class EndpointRemoved(EndpointEvent):
    """The endpoint is gone."""

    name: ClassVar[str] = "inference.endpoint.removed"
    meaning: ClassVar[str] = "An endpoint was taken away with everything that belonged to it."

    objects: list[str] = Field(description="What was deleted, as ``Kind namespace/name``")


class EndpointHealthy(ServingEvent):
    """A check of a live endpoint passed."""

    name: ClassVar[str] = "inference.endpoint.healthy"
    meaning: ClassVar[str] = "A check of the live endpoint passed."

    seconds: float = Field(description="Time of the answer")


class EndpointUnhealthy(ServingEvent):
    """A check of a live endpoint failed."""

    name: ClassVar[str] = "inference.endpoint.unhealthy"
    meaning: ClassVar[str] = "A check of the live endpoint failed: wrong or no answer, or objects that drifted."

    problems: list[str] = Field(description="One sentence each")


class Problem(BaseModel):
    """One of several reasons."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str


class EndpointFailed(EndpointEvent):
    """A deploy did not come to its end."""

    name: ClassVar[str] = "inference.endpoint.failed"
    meaning: ClassVar[str] = "A deploy, refresh or rollback failed: the endpoint serves what it served."

    model: str = Field(description="Hub repository")
    framework: str = Field(description="Serving stack")
    accelerator: str = Field(description="What the engine computes on")
    preset: str = Field(default="", description="Catalogue entry; empty: none")
    code: str = Field(description="Stable name of the failure")
    message: str = Field(description="What happened, why, and what to do, in one paragraph")
    what: str = Field(description="What happened")
    cause: str = Field(default="", description="Likely cause")
    fix: str = Field(default="", description="What to do next")
    problems: list[Problem] = Field(default=[], description="All of them, where there are several")
    diagnosis: dict[str, Any] | None = Field(
        default=None, description="Why a workload did not become ready: category, reason, cause, evidence, fixes"
    )
    smoke: dict[str, Any] | None = Field(default=None, description="Prompt, answer and problems of a failed smoke test")


class Benchmarked(BaseModel):
    """One rate of a load test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = Field(description="Requests per second that were asked for")
    requests_per_second: float
    output_tokens_per_second: float
    failed: int
    first_token_p50: float | None = None
    first_token_p99: float | None = None
    inter_token_p50: float | None = None
    inter_token_p99: float | None = None


class EndpointBenchmarked(ServingEvent):
    """A load test ended."""

    name: ClassVar[str] = "inference.endpoint.benchmarked"
    meaning: ClassVar[str] = "A load test of the endpoint ended; the whole result is in the store."

    scenario: str = Field(description="What load it was")
    engine: str = Field(description="What made the load")
    uri: str = Field(description="Where the result stands")
    within_limits: bool = Field(description="Whether it kept to the limits that the run was given")
    stages: list[Benchmarked] = Field(description="Results by rate; seconds")


EVENTS: dict[str, type[Event]] = {
    event.name: event
    for event in (
        ModelStaged,
        ModelPruned,
        EndpointReady,
        EndpointFailed,
        EndpointPromoted,
        EndpointRefreshed,
        EndpointRefreshFailed,
        EndpointRolledBack,
        EndpointHealthy,
        EndpointUnhealthy,
        EndpointBenchmarked,
        EndpointRemoved,
    )
}
"""All events by their name."""


def endpoint_resource(namespace: str, endpoint: str) -> str:
    """Returns the id under which events name an endpoint."""
    return f"{ENDPOINT_RESOURCE}.{namespace}.{endpoint}"


def identity(spec: EndpointSpec) -> dict[str, Any]:
    """Returns the fields that say which endpoint it is and what it is made of."""
    return {
        "endpoint": spec.name,
        "namespace": spec.namespace,
        "framework": spec.framework.value,
        "accelerator": spec.accelerator.value,
        "preset": spec.preset,
        "model": spec.model.repo_id,
    }


def serving(record: EndpointRecord) -> dict[str, Any]:
    """Returns the fields that all events about a serving endpoint have."""
    release = record.serving
    return identity(release.spec) | {
        "revision": release.model.revision,
        "commit": release.model.commit,
        "release": release.id,
    }


def promoted(spec: EndpointSpec, model: PinnedModel, release: str, before: str) -> EndpointPromoted:
    """Returns the event of an endpoint whose Service was pointed at another release.

    Args:
        spec: What the release was rendered from.
        model: What it serves.
        release: Its id.
        before: Id of the release that the Service pointed at before; empty: none.
    """
    fields = identity(spec) | {"revision": model.revision, "commit": model.commit}
    return EndpointPromoted(**fields, release=release, previous_release=before)


def ready(record: EndpointRecord, moved_bytes: int, step_seconds: dict[str, float]) -> EndpointReady:
    """Returns the event of an endpoint that was deployed.

    Args:
        record: What stands behind the endpoint now.
        moved_bytes: Bytes read from the Hub by this run.
        step_seconds: Seconds per step, in order.
    """
    release, smoke = record.serving, record.serving.smoke
    before = record.previous[0] if record.previous else None
    return EndpointReady(
        **serving(record),
        image=release.image,
        replicas=record.spec.replicas,
        staged_uri=release.staged_uri,
        staged_bytes=release.staged_bytes,
        moved_bytes=moved_bytes,
        step_seconds=step_seconds,
        smoke_seconds=smoke.seconds if smoke else None,
        first_token_seconds=smoke.first_token_seconds if smoke else None,
        tokens_per_second=smoke.tokens_per_second if smoke else None,
        previous_release=before.id if before else "",
        previous_commit=before.model.commit if before else "",
        flow_run=release.flow_run,
    )


def refreshed(after: EndpointRecord) -> EndpointRefreshed:
    """Returns the event of an endpoint that serves its branch's new commit."""
    return EndpointRefreshed(**serving(after), previous_commit=_before(after).model.commit)


def rolled_back(after: EndpointRecord) -> EndpointRolledBack:
    """Returns the event of an endpoint that serves an earlier release again."""
    before = _before(after)
    return EndpointRolledBack(**serving(after), from_release=before.id, from_commit=before.model.commit)


def _before(record: EndpointRecord) -> ReleaseRecord:
    """The release that served before; the present one where none did."""
    return record.previous[0] if record.previous else record.serving
