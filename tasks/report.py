"""What a run leaves for people and programs: the record in the cluster, a markdown artifact, an event."""

import asyncio
from collections.abc import Mapping

from prefect import get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from kube.apply import apply
from kube.connect import Cluster
from serving.errors import InferenceError
from serving.record import EndpointRecord, to_manifest
from serving.report import failure_data, failure_markdown, ready_markdown
from serving.spec import EndpointSpec


@task(name="record", task_run_name="record", cache_policy=NO_CACHE)
async def write_record(
    record: EndpointRecord, moved_bytes: int, seconds: Mapping[str, float], cluster: Cluster
) -> None:
    """Writes the endpoint's record into the cluster, and says so in the UI and as an event."""
    spec, release = record.spec, record.current
    await asyncio.to_thread(apply, cluster, to_manifest(record))
    await acreate_markdown_artifact(
        markdown=ready_markdown(record, moved_bytes, seconds),
        key=artifact_key(spec),
        description=f"{release.model.repo_id}@{release.model.commit[:12]} answers at {spec.namespace}/{spec.name}",
    )
    payload = record.model_dump(mode="json") | {"moved_bytes": moved_bytes, "step_seconds": dict(seconds)}
    emit_event("inference.endpoint.ready", resource=_resource(spec), payload=payload)
    get_run_logger().info("%s/%s serves %s@%s", spec.namespace, spec.name, release.model.repo_id, release.model.commit)


@task(name="report-failure", task_run_name="report-failure", cache_policy=NO_CACHE)
async def report_failure(spec: EndpointSpec, error: InferenceError) -> None:
    """Shows why a deploy failed and what to do, where the endpoint's reports are."""
    await acreate_markdown_artifact(
        markdown=failure_markdown(spec, error), key=artifact_key(spec), description=error.what[:200]
    )
    emit_event("inference.endpoint.failed", resource=_resource(spec), payload=failure_data(spec, error))


def artifact_key(spec: EndpointSpec) -> str:
    """Key of an endpoint's reports: their versions are its history."""
    return f"endpoint-{spec.name}"


def picture_key(spec: EndpointSpec) -> str:
    """Key of the pictures that an endpoint's smoke tests got."""
    return f"endpoint-{spec.name}-picture"


def _resource(spec: EndpointSpec) -> dict[str, str]:
    return {
        "prefect.resource.id": f"inference.endpoint.{spec.namespace}.{spec.name}",
        "prefect.resource.name": spec.name,
    }
