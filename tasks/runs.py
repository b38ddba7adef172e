"""What the UI shows of a run: a name that says what it does, and tags to find it by."""

from collections.abc import Iterable

from prefect import runtime
from prefect.client.orchestration import get_client

from serving.models import PinnedModel
from serving.spec import EndpointSpec


async def describe_deploy(spec: EndpointSpec, model: PinnedModel | None = None) -> None:
    """Tags the run with what it works on, and adds the commit to its name once that is known."""
    if model is None:
        await describe_run(tags=tags_of(spec))
        return
    name, commit = runtime.flow_run.name or f"deploy {spec.name}", model.commit[:12]
    known = f"{name}: {short(model)}" if commit not in name else name
    await describe_run(name=known, tags=[*tags_of(spec), f"commit:{commit}"])


async def describe_run(*, name: str = "", tags: Iterable[str] = ()) -> None:
    """Names and tags the flow run that calls it; tags that it has already, a deployment's too, stay."""
    run = runtime.flow_run.id
    if not run:
        return
    all_tags = sorted({*runtime.flow_run.tags, *tags})
    async with get_client() as client:
        await client.update_flow_run(run, name=name or None, tags=all_tags)


def run_id() -> str:
    """Id of the flow run that a person or a schedule started, of which this one may be a part; empty outside."""
    return str(runtime.flow_run.root_flow_run_id or runtime.flow_run.id or "")


def tags_of(spec: EndpointSpec) -> list[str]:
    """Returns the tags of every run that works on an endpoint."""
    tags = [
        endpoint_tag(spec.name),
        f"namespace:{spec.namespace}",
        f"framework:{spec.framework.value}",
        f"accelerator:{spec.accelerator.value}",
        f"model:{spec.model.repo_id}",
    ]
    return [*tags, f"preset:{spec.preset}"] if spec.preset else tags


def endpoint_tag(endpoint: str) -> str:
    """Returns the tag that finds all runs of an endpoint."""
    return f"endpoint:{endpoint}"


def short(model: PinnedModel) -> str:
    """Returns a pinned model as run names hold it: ``org/name@70d244cc8681``."""
    return f"{model.repo_id}@{model.commit[:12]}"
