"""Will this model fit this cluster? Asked when its files are known, before a byte of it moves or a GPU is rented."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from kube.autoscalers import adds_nodes
from kube.connect import Cluster
from serving import fit, nodes
from serving.frameworks.resources import INSTANCE_TYPE_LABEL, node_selector, tolerations
from serving.frameworks.workload import Manifest
from serving.instances import InstanceType, instance_types
from serving.models import PinnedModel
from serving.preflight import Finding, require, room_findings
from serving.spec import VLLM_BASED, Accelerator, EndpointSpec
from staging.hub import HubAccess, list_files
from staging.plan import StagePlan
from staging.small import read_hub, read_planned
from tasks.rollout import nodes_if_allowed

CONFIG = "config.json"


@task(name="check-fit", task_run_name="check-fit", cache_policy=NO_CACHE)
async def check_fit(
    spec: EndpointSpec,
    pinned: PinnedModel,
    plan: StagePlan | None,
    manifests: Sequence[Manifest],
    hub: HubAccess,
    cluster: Cluster,
) -> tuple[str, ...]:
    """Holds the model's weights and cache against the accelerators' memory, and its bytes against the nodes' disks.

    Args:
        spec: The endpoint.
        pinned: Its model.
        plan: How its files get into the store; None for pods that load from the Hub.
        manifests: What is to be applied, rendered for this model.
        hub: Where its files are.
        cluster: Where the pods are to run.

    Returns:
        What is worth knowing and no reason to stop.

    Raises:
        PreflightError: It does not fit; names the smallest setting or instance type that does.
        HubError: A file of the model cannot be read.
        StoreError: Likewise, of one that is staged.
    """
    found = await asyncio.to_thread(look, spec, pinned, plan, manifests, hub, cluster)
    for finding in found:
        if not finding.fatal:
            get_run_logger().warning("%s %s", finding.message, finding.fix)
    require(found)
    return tuple(finding.message for finding in found)


def look(
    spec: EndpointSpec,
    pinned: PinnedModel,
    plan: StagePlan | None,
    manifests: Sequence[Manifest],
    hub: HubAccess,
    cluster: Cluster,
) -> list[Finding]:
    """The checks of `check_fit`."""
    there = nodes_if_allowed(cluster) or []
    may_come = adds_nodes(cluster)
    found = room_findings(spec, manifests, there, may_come=may_come)
    if spec.framework in VLLM_BASED and spec.accelerator is not Accelerator.CPU:
        instances = landing(spec, there, may_come=may_come)
        found += fit.findings(spec, _model(pinned, plan, hub), instances)
    return found


def landing(spec: EndpointSpec, there: Sequence[Mapping[str, Any]], *, may_come: bool) -> list[InstanceType]:
    """Returns the instance types that the pods may land on; empty where that is not known."""
    if spec.instance_type:
        return fit.named_instance(spec)
    if may_come:
        return []
    return list(_types_of(spec, there) or ())


def _types_of(spec: EndpointSpec, there: Sequence[Mapping[str, Any]]) -> list[InstanceType] | None:
    wanted = {"nodeSelector": node_selector(spec), "tolerations": tolerations(spec)}
    found = []
    for node in there:
        offered = nodes.allocatable(node, spec.accelerator.resource)
        if offered < spec.resources.accelerators or nodes.unmet_selector(node, wanted):
            continue
        known = instance_types().get(nodes.labels(node).get(INSTANCE_TYPE_LABEL, ""))
        if known is None:
            return None
        found.append(known)
    return found


def _model(pinned: PinnedModel, plan: StagePlan | None, hub: HubAccess) -> fit.Model:
    if plan is None:
        files = list_files(pinned, hub)
        sizes = {file.path: file.size for file in files}
        listed = next((file for file in files if file.path == CONFIG), None)
        return fit.read_model(sizes, _parsed(read_hub(pinned, listed, hub) if listed else None))
    return fit.read_model(dict(_sizes(plan)), _parsed(read_planned(plan, CONFIG)))


def _sizes(plan: StagePlan) -> Iterator[tuple[str, int]]:
    if plan.staged is not None:
        yield from ((file.path, file.size) for file in plan.staged.files)
    else:
        yield from ((planned.file.path, planned.file.size) for planned in plan.files)


def _parsed(content: bytes | None) -> dict[str, Any] | None:
    """The configuration; None if it is none, which the engine will say in its own words."""
    try:
        document = json.loads(content) if content else None
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
