"""What the Prefect server does by itself: tell of failures, find dead runs, answer events with runs."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from deployments.declared import TAG
from deployments.notifiers import Notifier
from deployments.outcomes import Done, Outcome
from deployments.pools import HEARTBEAT_SECONDS
from serving.catalog import Preset, load_presets
from serving.events import ModelStaged

PREFIX = "inference: "
"""Start of the names of our automations."""

REPO_UPDATED = "huggingface.repo.updated"
"""Event that says that a repository of the Hub has changed: ``payload.repo_id`` names it."""

SILENT_SECONDS = 3 * HEARTBEAT_SECONDS
"""A run that was silent for so long is dead: two heartbeats may be lost."""

_OUR_RUNS = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
_DEPLOYED = {"prefect.resource.role": "deployment"}

SUBJECT = "{{ flow.name }} {{ flow_run.state.name | lower }}: {{ flow_run.name }}"
BODY = """\
{{ flow_run.state.message }}

{{ flow_run | ui_url }}
"""


def failure_told(notifier: Notifier) -> AutomationCore:
    """Tells of each run that failed, with what the run says about cause and fix.

    Runs of a deployment only: what a subflow says, its parent says too.
    """
    return AutomationCore(
        name=f"{PREFIX}tell {notifier.slug.partition('/')[0]} of failures",
        description="A run failed or crashed. The message is the run's own: what happened, why, and what to do.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=[_OUR_RUNS, _DEPLOYED],
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[SendNotification(block_document_id=notifier.id, subject=SUBJECT, body=BODY)],
    )


def dead_runs_crashed(silent_seconds: int = SILENT_SECONDS) -> AutomationCore:
    """Marks runs as crashed whose process is gone: killed, evicted, on a node that was lost.

    The pools give their runs a heartbeat every 30 seconds. Runs without the tag of our deployments are not judged: on
    Prefect's default of 180 seconds a healthy one would be taken for dead.
    """
    return AutomationCore(
        name=f"{PREFIX}mark dead runs as crashed",
        description=f"No sign of life for {silent_seconds} seconds (heartbeats come every {HEARTBEAT_SECONDS}).",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=_OUR_RUNS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silent_seconds),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"No sign of life for {silent_seconds} s: the run's process, pod or node is gone. "
                "Run it again: it goes on from what is staged and deployed.",
            )
        ],
    )


def staged_name(preset: Preset) -> str:
    """Name of the automation that deploys a preset when its model was staged."""
    return f"{PREFIX}deploy {preset.name} when {preset.model} was staged"


def staged_deployed(preset: Preset, deployment_id: UUID) -> AutomationCore:
    """Deploys a preset when `stage-model` has staged its model."""
    return AutomationCore(
        name=staged_name(preset),
        description=f"Event {ModelStaged.name} of the flow stage-model.",
        trigger=EventTrigger(
            expect={ModelStaged.name},
            match={"prefect.resource.id": f"inference.model.{preset.model}"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": "stage-model"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[RunDeployment(source="selected", deployment_id=deployment_id)],
    )


def updates_followed(deployment_id: UUID) -> AutomationCore:
    """Refreshes the endpoints of a repository when the Hub says that it has changed."""
    return AutomationCore(
        name=f"{PREFIX}refresh endpoints whose repository has changed",
        description=f"Event {REPO_UPDATED}; payload: repo_id.",
        trigger=EventTrigger(
            expect={REPO_UPDATED},
            match={"prefect.resource.id": "huggingface.repo.*"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment_id,
                parameters={"repo_id": {"__prefect_kind": "jinja", "template": "{{ event.payload.repo_id }}"}},
            )
        ],
    )


async def wanted_automations(
    client: PrefectClient, notifiers: Sequence[Notifier], deploy_staged: Sequence[Preset] = ()
) -> list[AutomationCore]:
    """All automations that are to be there. Those that start a deployment need it to be registered.

    Args:
        client: Prefect's client.
        notifiers: Where failures are told.
        deploy_staged: Presets that are deployed when their model was staged.

    Raises:
        ObjectNotFound: A deployment is not registered.
    """
    refresh = await client.read_deployment_by_name("refresh-models/refresh-models")
    found = [*map(failure_told, notifiers), dead_runs_crashed(), updates_followed(refresh.id)]
    for preset in deploy_staged:
        deployment = await client.read_deployment_by_name(f"deploy-model/{preset.name}")
        found.append(staged_deployed(preset, deployment.id))
    return found


async def undeclared_automations(client: PrefectClient, wanted: Sequence[AutomationCore]) -> list[Automation]:
    """Automations of ours that nothing declares any more: of an earlier version, or for a notifier that is gone.

    Ours are those whose name begins with `PREFIX`. One that deploys a preset of the catalogue when its model was staged
    was asked for by a person, and counts as declared whether it is asked for again or not.

    Args:
        client: Prefect's client.
        wanted: All that are to be there.
    """
    declared = {one.name for one in wanted} | {staged_name(preset) for preset in load_presets().values()}
    found = await client.read_automations()
    return [one for one in found if one.name.startswith(PREFIX) and one.name not in declared]


async def sweep_automations(client: PrefectClient, wanted: Sequence[AutomationCore]) -> list[Done]:
    """Removes the automations of ours that nothing declares any more."""
    found = await undeclared_automations(client, wanted)
    for one in found:
        await client.delete_automation(one.id)
    return [Done("automation", one.name, Outcome.REMOVED, "no longer declared") for one in found]


async def ensure_automations(client: PrefectClient, wanted: Sequence[AutomationCore]) -> list[Done]:
    """Creates the automations, or brings them up to date; one that a person switched off stays off."""
    return [await _ensure(client, one) for one in wanted]


async def _ensure(client: PrefectClient, wanted: AutomationCore) -> Done:
    there = await find_automation(client, wanted.name)
    if there is None:
        await client.create_automation(wanted)
        return Done("automation", wanted.name, Outcome.CREATED)
    if not (differs := differences(wanted, there)):
        off = "" if there.enabled else "switched off"
        return Done("automation", wanted.name, Outcome.UNCHANGED, off)
    await client.update_automation(there.id, wanted.model_copy(update={"enabled": there.enabled}))
    return Done("automation", wanted.name, Outcome.UPDATED, ", ".join(differs))


async def find_automation(client: PrefectClient, name: str) -> Automation | None:
    """The automation of a name; None if there is none."""
    try:
        return next(iter(await client.read_automations_by_name(name)), None)
    except ObjectNotFound:
        return None


def differences(wanted: AutomationCore, there: AutomationCore) -> list[str]:
    """Fields in which an automation on the server is not what it should be."""
    should, is_ = _comparable(wanted), _comparable(there)
    return [name for name in should if should[name] != is_[name]]


def _comparable(one: AutomationCore) -> dict[str, Any]:
    fields = one.model_dump(mode="json", include={"description", "trigger", "actions"})
    trigger = fields["trigger"]
    trigger.pop("id", None)
    for name in ("after", "expect", "for_each"):  # sets
        trigger[name] = sorted(trigger[name])
    return fields
