"""Deploy an NVIDIA NIM."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from flows.parameters import SmokeOptions, WorkloadOptions, make_spec
from flows.pipeline import DeployReport, Target, deploy_endpoint
from serving.models import ModelSource
from serving.spec import Accelerator, EndpointName, Framework, NimOptions
from tasks.explain import explained


@flow(name="deploy-nim", flow_run_name="deploy {endpoint} ({accelerator})")
async def deploy_nim(
    endpoint: EndpointName,
    model: ModelSource,
    cluster: InferenceCluster,
    hub: HuggingFaceHub,
    store: ModelStore,
    accelerator: Accelerator = Accelerator.GPU,
    image: str = "",
    nim: NimOptions = NimOptions(),
    workload: WorkloadOptions = WorkloadOptions(),
    smoke: SmokeOptions = SmokeOptions(),
    timeout_minutes: Annotated[int, Field(gt=0, le=1440, json_schema_extra={"title": "Timeout (minutes)"})] = 60,
    dry_run: bool = False,
) -> DeployReport | State[Any]:
    """Takes an NVIDIA NIM to a live, verified endpoint; its container fetches its own weights.

    Args:
        endpoint: Name of the endpoint: the Service that clients call.
        model: Hub repository and revision.
        cluster: Cluster and namespace to deploy to.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        accelerator: What the engine computes on.
        image: Container image; by default the project's choice for framework and accelerator.
        nim: Secrets, cache, and whether the NIM operator runs it.
        workload: Pods, machines, weights, identity, autoscaling.
        smoke: The question that proves it, and bounds for the answer.
        timeout_minutes: How long the workload may take to become ready.
        dry_run: Show what would change and change nothing.
    """

    async def work() -> DeployReport:
        spec = make_spec(
            Framework.NIM,
            accelerator,
            cluster,
            endpoint=endpoint,
            model=model,
            image=image,
            workload=workload,
            options={"nim": nim},
        )
        target = Target(cluster=cluster, hub=hub, store=store)
        return await deploy_endpoint(spec, target, timeout_seconds=60.0 * timeout_minutes, dry_run=dry_run, smoke=smoke)

    return await explained(work())
