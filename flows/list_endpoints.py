"""What is deployed, in one table: in the UI, in the log, and on a terminal (python -m flows.list_endpoints)."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import State
from prefect_kubernetes.credentials import KubernetesClusterConfig
from rich.console import Console
from rich.table import Table

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from flows.naming import in_namespace
from flows.parameters import ClusterBlock, HubBlock, Namespace, titled
from serving.errors import InferenceError
from tasks.explain import explained
from tasks.listing import list_rows

Rows = list[dict[str, str]]


@flow(name="list-endpoints", flow_run_name=in_namespace("list endpoints"))
async def list_endpoints(
    cluster: ClusterBlock,
    hub: HubBlock = HuggingFaceHub(),
    namespace: Namespace = "",
    ask_hub: Annotated[bool, titled("How far behind")] = True,
) -> Rows | State[Any]:
    """Lists the endpoints: what each serves, how far it is behind its branch, how many pods are ready, its last test.

    Args:
        cluster: Cluster to look at.
        hub: Token and address of the Hub.
        namespace: By default all namespaces.
        ask_hub: Ask the Hub how far each endpoint is behind: one request per repository and branch.
    """

    async def work() -> Rows:
        rows = await asyncio.to_thread(list_rows, cluster, hub if ask_hub else None, namespace)
        await acreate_table_artifact(table=rows, key="endpoints", description=f"{len(rows)} endpoints")
        get_run_logger().info("%d endpoints\n%s", len(rows), as_text(rows))
        return rows

    return await explained(work())


def table(rows: Rows) -> Table:
    """The rows as a terminal shows them."""
    shown = Table(title=f"{len(rows)} endpoints")
    for name in rows[0] if rows else ():
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*row.values())
    return shown


def as_text(rows: Rows) -> str:
    """The rows as lines of text, whose columns stand below each other."""
    if not rows:
        return ""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def main() -> int:
    """Prints the table without starting a run.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.list_endpoints", description=__doc__)
    parser.add_argument("--cluster", default="default", help="name of the saved block of the cluster")
    parser.add_argument("--kubeconfig", type=Path, help="a kubeconfig instead; needs no Prefect server")
    parser.add_argument("--hub", default="default", help="name of the saved block of the Hub; - asks no Hub")
    parser.add_argument("--namespace", default="", help="by default all")
    parser.add_argument("--json", action="store_true", help="one JSON array")
    options = parser.parse_args()
    try:
        rows = list_rows(_cluster(options), _hub(options), options.namespace)
    except InferenceError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except ValueError as error:  # Prefect's word for a block that is not saved
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(rows))
    else:
        Console().print(table(rows))
    return 0


def _cluster(options: argparse.Namespace) -> InferenceCluster:
    if options.kubeconfig:
        config = KubernetesClusterConfig.from_file(options.kubeconfig)
        return InferenceCluster(kubeconfig=config)
    return InferenceCluster.load(options.cluster)  # type: ignore[return-value]


def _hub(options: argparse.Namespace) -> HuggingFaceHub | None:
    if options.hub == "-" or (options.kubeconfig and options.hub == "default"):
        return None
    return HuggingFaceHub.load(options.hub)  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
