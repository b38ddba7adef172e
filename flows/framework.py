"""What every framework's deploy flow does with its parameters."""

from collections.abc import Mapping
from typing import Any

from prefect.client.schemas.objects import State
from pydantic import BaseModel

from flows.parameters import WorkloadOptions, make_spec
from flows.pipeline import DeployReport, deploy_endpoint
from flows.target import Target
from serving.models import ModelSource
from serving.spec import Accelerator, Framework, SmokeOptions
from tasks.explain import explained


async def deploy_framework(
    framework: Framework,
    accelerator: Accelerator,
    target: Target,
    *,
    endpoint: str,
    model: ModelSource,
    image: str,
    options: Mapping[str, BaseModel],
    workload: WorkloadOptions,
    smoke: SmokeOptions,
    timeout_minutes: int,
    wait_minutes: int,
    dry_run: bool,
) -> DeployReport | State[Any]:
    """Deploys what the parameters describe; a failure is a state that says why.

    Args:
        framework: The flow's own.
        accelerator: What the engine computes on.
        target: Where.
        endpoint: Name of the endpoint.
        model: What it serves.
        image: Container image; empty: the project's choice.
        options: The framework's own groups, by their name in the spec.
        workload: The common group.
        smoke: The question that proves it, and bounds for the answer.
        timeout_minutes: How long the workload may take to become ready.
        wait_minutes: How long to wait for another run that changes this endpoint; 0 refuses at once.
        dry_run: Show what would change and change nothing.
    """

    async def work() -> DeployReport:
        spec = make_spec(
            framework,
            accelerator,
            target.cluster,
            endpoint=endpoint,
            model=model,
            image=image,
            workload=workload,
            options=options,
            smoke=smoke,
        )
        return await deploy_endpoint(
            spec,
            target,
            timeout_seconds=60.0 * timeout_minutes,
            wait_seconds=60.0 * wait_minutes,
            dry_run=dry_run,
        )

    return await explained(work())
