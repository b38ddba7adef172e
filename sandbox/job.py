"""The main job: deploy one preset as a user would, and report what came of it."""

import asyncio
import json
import threading

from rich.console import Console

from sandbox.registration import register_deployments
from sandbox.report import SandboxReport, show
from sandbox.run import RunOptions, Sandbox, sandbox
from sandbox.run_view import shown


def run(options: RunOptions, *, keep: bool, as_json: bool) -> int:
    """Runs `deploy-model/<preset>` in a sandbox and prints the report.

    Args:
        options: What the command line asks for.
        keep: Stay up afterwards, until Ctrl-C.
        as_json: Print the report as one JSON object, and all else to standard error.

    Returns:
        The exit code: 0 if the endpoint answered.
    """
    console = Console(stderr=as_json)
    with sandbox(options, console) as running:
        report = asyncio.run(deploy(options.preset, running, console))
        if as_json:
            print(json.dumps(report.as_json(), ensure_ascii=False), flush=True)
        else:
            show(report, console)
        if keep:
            register_deployments()
            console.print(how_to_use(running, options.preset), highlight=False, markup=False, soft_wrap=True)
            threading.Event().wait()
    return 0 if report.passed else 1


async def deploy(preset: str, running: Sandbox, console: Console) -> SandboxReport:
    """Starts the deployment's run through the Prefect API, follows it, and reads what it left in the cluster."""
    from prefect.exceptions import ObjectNotFound

    from sandbox.run_watch import follow, start_run

    deployment = f"deploy-model/{preset}"
    try:
        run_ = await start_run(deployment, {})
    except ObjectNotFound:
        # As a user would who names a preset that has no deployment of its own: the general one says what is wrong.
        run_ = await start_run("deploy-model/any-preset", {"preset": preset})
    ui = f"{running.prefect.url}/runs/flow-run/{run_.id}"
    console.print(f"{deployment}: {ui}", highlight=False)
    with shown(console) as show_view:
        view = await follow(run_.id, show_view)
    known = SandboxReport(
        preset=preset,
        state=view.state,
        message=view.message,
        ui=ui,
        run_seconds=round(view.seconds, 2),
        ready_seconds=round(running.start_seconds, 2),
        steps={step.name: round(step.seconds, 2) for step in view.steps},
    )
    return await asyncio.to_thread(_with_record, known, str(run_.id), running) if known.passed else known


def _with_record(report: SandboxReport, run_id: str, running: Sandbox) -> SandboxReport:
    """Adds what stands in the endpoint's record, and the engine's own name for itself."""
    from dataclasses import replace

    from kube.connect import from_kubeconfig
    from kube.proxy import request
    from kube.read import list_
    from serving.record import RECORD_LABEL, from_manifest

    with from_kubeconfig(running.places.kubeconfig) as cluster:
        manifests = list_(cluster, "v1", "ConfigMap", running.places.namespace, labels=f"{RECORD_LABEL}=true")
        records = [from_manifest(manifest) for manifest in manifests]
        record = next(record for record in records if record.current.flow_run == run_id)
        spec, release = record.spec, record.current
        version = request(cluster, "GET", spec.namespace, spec.name, "http", "/version")
    engine = str(version.json().get("version", "unknown")) if version.status == 200 else f"HTTP {version.status}"
    return replace(
        report,
        endpoint=f"http://{spec.name}.{spec.namespace}.svc:8000",
        model=release.model.repo_id,
        commit=release.model.commit,
        staged_uri=release.staged_uri,
        staged_bytes=release.staged_bytes,
        moved_bytes=release.moved_bytes,
        engine=f"vLLM {engine}" if engine[:1].isdigit() else engine,
        prompt=release.smoke.prompt if release.smoke else "",
        answer=release.smoke.answer if release.smoke else "",
    )


def how_to_use(running: Sandbox, preset: str) -> str:
    """What a person can do with a sandbox that stays up."""
    places, prefect = running.places, running.prefect
    return f"""
The sandbox stays up until Ctrl-C. In another terminal:

  export PREFECT_API_URL={prefect.api_url}
  prefect deployment run 'deploy-model/llama-32-1b-vllm' --watch
  prefect deployment run 'deploy-model/{preset}' --watch      # again: nothing moves, nothing changes

  export KUBECONFIG={places.kubeconfig}
  kubectl get pods,services -n {places.namespace}
  kubectl get --raw /api/v1/namespaces/{places.namespace}/services/http:NAME:http/proxy/v1/models

The UI: {prefect.url}
"""
