"""One command that sets a Prefect server up for the flows: `python -m deployments.bootstrap`.

Blocks, work pool, concurrency limit, deployments, notifications and automations: what is missing is created, what is
out of date is renewed, what a person changed on purpose stays; automations of ours (their names begin with
"inference: ") that nothing declares any more are removed. It says what it did, and does nothing a second time.

PREFECT_API_URL says which server. Secrets come from the environment (HF_TOKEN, SLACK_WEBHOOK_URL, SENDGRID_API_KEY,
NOTIFY_WEBHOOK_URL, AWS keys with --save-aws-keys) or are asked for unseen; they are never printed.
"""

import argparse
import asyncio
import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from prefect.client.orchestration import PrefectClient, get_client

from deployments.automations import ensure_automations, sweep_automations, wanted_automations
from deployments.limits import ensure_limits
from deployments.notifiers import ensure_notifiers, find_notifiers
from deployments.outcomes import Done, Outcome
from deployments.pools import PodSettings, ensure_pool
from deployments.prefect_yaml import POOLS, Pool
from deployments.register import read, register
from deployments.saved_blocks import Sources, ensure_blocks
from deployments.server import check_server
from serving.catalog import Preset, get_preset
from serving.errors import InferenceError, InputError


@dataclass(frozen=True)
class Plan:
    """What is to be set up.

    Attributes:
        pool: The work pool, with the file that declares its deployments.
        pods: Settings of a Kubernetes pool.
        sources: Where the blocks' fields come from.
        update_blocks: Whether blocks that are there take what `sources` say.
        staging_slots: Transfers at the same time; None leaves the limit as it is.
        deploy_staged: Presets that are deployed when their model was staged.
        only: Names of deployments to register; empty: all.
    """

    pool: Pool
    pods: PodSettings
    sources: Sources
    update_blocks: bool = False
    staging_slots: int | None = None
    deploy_staged: tuple[Preset, ...] = ()
    only: frozenset[str] = frozenset()


async def bootstrap(plan: Plan, say: Callable[[Done], None]) -> list[Done]:
    """Sets everything up, in an order in which each thing finds what it refers to.

    Args:
        plan: What is to be there.
        say: Called with each thing as soon as it is done.

    Raises:
        InferenceError: Something that is needed was not given; what was done before stays and is found again.
    """
    done: list[Done] = []

    def told(*more: Done) -> None:
        for one in more:
            done.append(one)
            say(one)

    await check_server()
    # Blocks first: what is missing is known before anything was created.
    told(*await ensure_blocks(plan.sources, update=plan.update_blocks))
    async with get_client() as client:
        told(await ensure_pool(client, plan.pool, plan.pods))
        told(*await ensure_limits(client, plan.staging_slots))
        entries = [entry for entry in read(plan.pool) if not plan.only or entry["name"] in plan.only]
        told(*await register(entries, client=client))
        told(*await ensure_notifiers(client, plan.sources.environ))
        told(*await _automations(client, plan))
    return done


async def _automations(client: PrefectClient, plan: Plan) -> list[Done]:
    notifiers = await find_notifiers(client)
    wanted = await wanted_automations(client, notifiers, plan.deploy_staged)
    done = [*await ensure_automations(client, wanted), *await sweep_automations(client, wanted)]
    if not notifiers:
        how = "set SLACK_WEBHOOK_URL, NOTIFY_WEBHOOK_URL or SENDGRID_API_KEY to be told of failures"
        done.append(Done("automation", "notifications", Outcome.SKIPPED, how))
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        0 if everything is as it should be now, 1 if something was missing.
    """
    options = _parser().parse_args(arguments)
    try:
        plan = _plan(options)
        done = asyncio.run(bootstrap(plan, _quiet if options.json else _say))
    except InferenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps([asdict(one) for one in done], indent=1) if options.json else summary(done, plan.pool))
    return 0


def summary(done: Sequence[Done], pool: Pool) -> str:
    """One line of what happened, and what to do next."""
    changed = [one for one in done if one.outcome in (Outcome.CREATED, Outcome.UPDATED, Outcome.REMOVED)]
    unchanged = sum(one.outcome is Outcome.UNCHANGED for one in done)
    if not changed:
        return f"\nNothing to do: {unchanged} things are as they should be."
    start = f"prefect worker start --pool {pool.name}" if pool.type == "process" else "the worker (docs/eks.md)"
    return f"\n{len(changed)} changed, {unchanged} unchanged. Next: {start}, then python -m deployments.doctor"


def _say(one: Done) -> None:
    if one.kind != "deployment" or one.outcome is not Outcome.UNCHANGED:
        print(one, flush=True)


def _quiet(_: Done) -> None:
    return


def _plan(options: argparse.Namespace) -> Plan:
    pool = POOLS[options.pool]
    pods = PodSettings(options.image, options.job_namespace, options.service_account)
    if pool.type != "kubernetes" and pods != PodSettings():
        raise InputError(
            "--image, --job-namespace and --service-account are for runs in pods.", fix="Add --pool kubernetes."
        )
    asks = sys.stdin.isatty() and not options.no_prompt and not options.json
    sources = Sources(
        environ=dict(os.environ),
        store=options.store,
        store_endpoint=options.store_endpoint,
        save_aws_keys=options.save_aws_keys,
        eks=options.eks,
        kubeconfig=options.kubeconfig,
        context=options.context,
        in_cluster=options.in_cluster,
        namespace=options.namespace,
        ask=_ask if asks else None,
    )
    return Plan(
        pool=pool,
        pods=pods,
        sources=sources,
        update_blocks=options.update_blocks,
        staging_slots=options.staging_slots,
        deploy_staged=tuple(map(get_preset, options.deploy_staged)),
        only=frozenset(options.only),
    )


def _ask(question: str, secret: bool) -> str:
    return getpass.getpass(f"{question}: ") if secret else input(f"{question}: ")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 up")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.bootstrap",
        description="Set a Prefect server up for the flows. A second time changes nothing.",
        epilog="Secrets come from the environment: HF_TOKEN, SLACK_WEBHOOK_URL, NOTIFY_WEBHOOK_URL, "
        "SENDGRID_API_KEY with NOTIFY_EMAIL_FROM and NOTIFY_EMAIL_TO.",
    )
    parser.add_argument("--pool", choices=POOLS, default="process", help="who runs the flows (default: %(default)s)")
    pods = parser.add_argument_group("runs in pods (--pool kubernetes)")
    pods.add_argument("--image", default="", help="image built from deployments/worker/Dockerfile")
    pods.add_argument("--job-namespace", default="", help="namespace of the runs' Jobs (deployments/rbac: prefect)")
    pods.add_argument("--service-account", default="", help="who the runs are (deployments/rbac: inference-flows)")
    store = parser.add_argument_group("model store")
    store.add_argument("--store", default="", metavar="s3://BUCKET/PREFIX", help="by default MODEL_STORE")
    store.add_argument("--store-endpoint", default="", metavar="URL", help="only for an S3-compatible store")
    store.add_argument("--save-aws-keys", action="store_true", help="save the environment's long-lived AWS keys")
    cluster = parser.add_argument_group("cluster of the endpoints")
    cluster.add_argument("--eks", default="", metavar="NAME", help="EKS cluster by name, in AWS_REGION")
    cluster.add_argument("--kubeconfig", type=Path, metavar="PATH", help="by default KUBECONFIG")
    cluster.add_argument("--context", default="", help="context of the kubeconfig; by default the current one")
    cluster.add_argument("--in-cluster", action="store_true", help="runs reach their own cluster from inside")
    cluster.add_argument("--namespace", default="default", help="namespace of the endpoints (default: %(default)s)")
    parser.add_argument("--update-blocks", action="store_true", help="change blocks that are there, too")
    parser.add_argument("--staging-slots", type=_positive, metavar="N", help="transfers at the same time (default: 4)")
    parser.add_argument(
        "--deploy-staged", action="append", default=[], metavar="PRESET", help="deploy it when its model was staged"
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="register this deployment alone")
    parser.add_argument("--no-prompt", action="store_true", help="ask nothing")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON; asks nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
