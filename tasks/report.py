"""What a run leaves for people and programs beside the record: a markdown artifact, events, lineage."""

from collections.abc import Mapping

from prefect import get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE

from kube.connect import Cluster
from serving import events
from serving.errors import InferenceError
from serving.lineage import endpoint_key, hub_key, staged_key
from serving.record import EndpointRecord
from serving.report import failure_data, failure_markdown, ready_markdown
from serving.spec import EndpointSpec
from tasks.assets import making
from tasks.events import emit


async def report_ready(
    record: EndpointRecord, moved_bytes: int, seconds: Mapping[str, float], gap: float | None, cluster: Cluster
) -> None:
    """Says what the endpoint serves now: in the UI, as an event and as lineage.

    Args:
        record: The endpoint's record.
        moved_bytes: Bytes read from the Hub by this run.
        seconds: Seconds per step, in order.
        gap: Seconds for which the endpoint did not answer; None if it always did.
        cluster: Where it is.
    """
    spec, release = record.spec, record.serving
    made = endpoint_key(cluster.name or cluster.server, spec.namespace, spec.name)
    source = staged_key(release.staged_uri) if release.staged_uri else hub_key(release.model)
    await making(_report_ready, made, source, title=f"{spec.namespace}/{spec.name}")(record, moved_bytes, seconds, gap)


@task(name="report", task_run_name="report", cache_policy=NO_CACHE)
async def _report_ready(
    record: EndpointRecord, moved_bytes: int, seconds: Mapping[str, float], gap: float | None
) -> None:
    spec, release = record.spec, record.serving
    await acreate_markdown_artifact(
        markdown=ready_markdown(release, moved_bytes, seconds, gap),
        key=artifact_key(spec),
        description=f"{release.model.repo_id}@{release.model.commit[:12]} answers at {spec.namespace}/{spec.name}",
    )
    emit(events.ready(record, moved_bytes, dict(seconds)))
    get_run_logger().info("%s/%s serves %s@%s", spec.namespace, spec.name, release.model.repo_id, release.model.commit)


@task(name="report-failure", task_run_name="report-failure", cache_policy=NO_CACHE)
async def report_failure(spec: EndpointSpec, error: InferenceError, gap: float | None = None) -> None:
    """Shows why a deploy failed and what to do, where the endpoint's reports are.

    Args:
        spec: The endpoint.
        error: Why.
        gap: Seconds for which the endpoint did not answer, until its old release served again; None if it always did.
    """
    await acreate_markdown_artifact(
        markdown=failure_markdown(spec, error, gap), key=artifact_key(spec), description=error.what[:200]
    )
    emit(events.EndpointFailed.model_validate(failure_data(spec, error)))


def artifact_key(spec: EndpointSpec) -> str:
    """Key of an endpoint's reports: their versions are its history."""
    return f"endpoint-{spec.name}"


def picture_key(spec: EndpointSpec) -> str:
    """Key of the pictures that an endpoint's smoke tests got."""
    return f"endpoint-{spec.name}-picture"
