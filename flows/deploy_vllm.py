"""Deploy a model with vLLM, parameter by parameter."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from flows.pipeline import DeployReport, Target, deploy_endpoint
from serving.build import build_spec
from serving.models import ModelSource
from serving.spec import Accelerator, EndpointName, Framework, Resources, VllmOptions, WeightsSource
from tasks.explain import explained


@flow(name="deploy-vllm", flow_run_name="deploy {endpoint} ({accelerator})")
async def deploy_vllm(
    endpoint: EndpointName,
    model: ModelSource,
    cluster: InferenceCluster,
    hub: HuggingFaceHub,
    store: ModelStore,
    accelerator: Accelerator = Accelerator.GPU,
    image: str = "",
    engine: VllmOptions = VllmOptions(),
    resources: Resources = Resources(),
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1,
    instance_type: str = "",
    weights: WeightsSource | None = None,
    env: dict[str, str] = {},
    namespace: str = "",
    service_account: str = "",
    served_model_name: str = "",
    token_secret: str = "hf-token",
    store_secret: str = "",
    shared_memory: str = "",
    startup_seconds: Annotated[int | None, Field(ge=1, json_schema_extra={"title": "Longest load (seconds)"})] = None,
    preset: str = "",
    timeout_minutes: Annotated[int, Field(gt=0, le=1440, json_schema_extra={"title": "Timeout (minutes)"})] = 60,
    dry_run: bool = False,
) -> DeployReport | State[Any]:
    """Takes one model to a live, verified endpoint served by vLLM.

    Args:
        endpoint: Name of the endpoint: the Service that clients call.
        model: Hub repository and revision.
        cluster: Cluster and namespace to deploy to.
        hub: Token and address of the Hub.
        store: Bucket and prefix that hold staged models.
        accelerator: What the engine computes on.
        image: Container image; by default the project's choice for the accelerator.
        engine: Arguments of the engine. What is left empty is vLLM's own default.
        resources: What one pod asks for.
        replicas: Pods that serve at the same time.
        instance_type: EC2 instance type that the pods must run on, for example g6e.2xlarge; empty for any.
        weights: Where pods get the weights from; by default what the image and accelerator support best.
        env: Further environment variables of the engine. Not for secrets.
        namespace: By default the cluster block's.
        service_account: Service account of the pods, with read access to the model store.
        served_model_name: The model's name in the API; by default its Hub repository.
        token_secret: Secret that the Hub token goes to, under the key token.
        store_secret: Secret with AWS keys, for pods that cannot have an identity (S3-compatible stores).
        shared_memory: Size of /dev/shm, for example 8Gi; by default 2Gi per accelerator.
        startup_seconds: Longest load; by default computed from the model's bytes.
        preset: Catalogue entry that these parameters came from; for the record only.
        timeout_minutes: How long the workload may take to become ready.
        dry_run: Show what would change and change nothing.
    """
    parameters = {
        "name": endpoint,
        "namespace": namespace or cluster.namespace,
        "model": model,
        "image": image,
        "engine": engine,
        "weights": weights,
        "served_model_name": served_model_name,
        "replicas": replicas,
        "resources": resources,
        "instance_type": instance_type,
        "env": env,
        "service_account": service_account,
        "token_secret": token_secret,
        "store_secret": store_secret,
        "shared_memory": shared_memory,
        "startup_seconds": startup_seconds,
        "preset": preset,
    }
    target = Target(cluster=cluster, hub=hub, store=store)

    async def work() -> DeployReport:
        spec = build_spec(Framework.VLLM, accelerator, parameters)
        return await deploy_endpoint(spec, target, timeout_seconds=60.0 * timeout_minutes, dry_run=dry_run)

    return await explained(work())
