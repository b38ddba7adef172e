"""The main job: deploy one preset as a user would, and report what came of it."""

import asyncio
import json
import shlex
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sandbox.engine import VERSION
from sandbox.options import RunOptions
from sandbox.registration import register_deployments
from sandbox.report import SandboxReport, show
from sandbox.run import Sandbox, sandbox
from sandbox.run_view import shown
from sandbox.serve import Signalled
from serving.frameworks.triton import MODEL as TRITON_MODEL
from serving.spec import Framework

if TYPE_CHECKING:  # at run time it would import Prefect before its settings are made
    from sandbox.run_watch import RunView

ANOTHER_PRESET = "llama-32-1b-vllm"
MODELS = {Framework.TRITON_VLLM.value: f"/v2/models/{TRITON_MODEL}"}
"""Where other servers than those of the OpenAI API tell of their model, by framework."""


def run(options: RunOptions, *, keep: bool, as_json: bool) -> int:
    """Runs `deploy-model/<preset>` in a sandbox and prints the report.

    Args:
        options: What the command line asks for.
        keep: Stay up afterwards, until SIGINT (Ctrl-C) or SIGTERM.
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
            console.print("\nRegistering the deployments of all presets …", highlight=False)
            register_deployments()
            console.print(how_to_use(running, report), highlight=False, markup=False, soft_wrap=True)
            with suppress(Signalled):
                threading.Event().wait()
    return 0 if report.passed else 1


async def deploy(preset: str, running: Sandbox, console: Console) -> SandboxReport:
    """Starts the deployment's run through the Prefect API, follows it, and reads what it left in the cluster.

    Raises:
        RuntimeError: The worker ended, so that the run would never end.
    """
    from sandbox.run_watch import follow, start_run

    deployment = f"deploy-model/{preset}"
    run_ = await start_run(deployment, {})
    ui = f"{running.prefect.url}/runs/flow-run/{run_.id}"
    console.print(f"{deployment}: {ui}", highlight=False, markup=False, soft_wrap=True)
    with shown(console) as show_view:
        view = await follow(run_.id, _while_worked_on(running, show_view))
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


def _while_worked_on(running: Sandbox, show_view: "Callable[[RunView], None]") -> "Callable[[RunView], None]":
    def show_and_check(view: "RunView") -> None:
        show_view(view)
        if not view.final:
            running.worker.check()

    return show_and_check


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
        serving = [record.current for record in records if record.current is not None]
        release = next(one for one in serving if one.flow_run == run_id)
        spec = release.spec
        own = running.servers.kubernetes is not None
        version = request(cluster, "GET", spec.namespace, spec.name, "http", "/version")
    unsaid = VERSION if own else spec.image  # other servers than vLLM's have no such path
    engine = str(version.json().get("version", "unknown")) if version.status == 200 else unsaid
    return replace(
        report,
        framework=spec.framework.value,
        service=spec.name,
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


def how_to_use(running: Sandbox, report: SandboxReport) -> str:
    """What a person can do with a sandbox that stays up: commands to copy into another terminal."""
    places, programs = running.places, Path(sys.executable).parent
    proxy = f"/api/v1/namespaces/{places.namespace}/services/http:{report.service}:http/proxy"
    ask = f"  kubectl get --raw {proxy}{MODELS.get(report.framework, '/v1/models')}\n" if report.service else ""
    return f"""
The sandbox stays up until Ctrl-C. In another terminal:

  export PATH={shlex.quote(str(programs))}:"$PATH" PREFECT_API_URL={running.prefect.api_url}
  prefect deployment run 'deploy-model/{report.preset}' --watch      # again: nothing moves, nothing changes
  prefect deployment run 'deploy-model/{ANOTHER_PRESET}' --watch      # another model

  export KUBECONFIG={shlex.quote(str(places.kubeconfig))}
  kubectl get deployments,pods,services -n {places.namespace}
{ask}
The UI: {running.prefect.url}
"""
