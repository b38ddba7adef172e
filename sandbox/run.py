"""`python -m sandbox`: everything on this machine, and one model's way through it by the Prefect API."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sandbox.prefect_server import DEFAULT_PORT, PrefectServer, run_worker, serve_prefect, wait_until_healthy
from sandbox.registration import Places, register_deployments, save_blocks
from sandbox.servers import Servers, serve
from serving.errors import InputError

NAMESPACE = "inference"


@dataclass(frozen=True)
class RunOptions:
    """What the command line asks for.

    Attributes:
        preset: Catalogue entry to deploy.
        hub: Address of a real Hub; empty for the sandbox's. Its token is taken from HF_TOKEN.
        kubeconfig: Path of a real cluster's kubeconfig; None for the sandbox's.
        store: ``s3://bucket/prefix`` of a real store; empty for the sandbox's.
        namespace: Namespace to deploy to; it must exist on a real cluster.
        vllm: Path of a real vllm executable; None for the stand-in.
        state: Directory for what the sandbox writes; None for a temporary one.
    """

    preset: str
    hub: str = ""
    kubeconfig: Path | None = None
    store: str = ""
    namespace: str = NAMESPACE
    vllm: Path | None = None
    state: Path | None = None


@dataclass(frozen=True)
class Sandbox:
    """All that is up.

    Attributes:
        places: Where the flows find Hub, store and cluster.
        servers: The sandbox's own servers.
        prefect: The Prefect server, with a worker.
        start_seconds: How long it took to get here.
    """

    places: Places
    servers: Servers
    prefect: PrefectServer
    start_seconds: float


@contextmanager
def sandbox(options: RunOptions, console: Console) -> Iterator[Sandbox]:
    """Starts everything, and stops all of it at the end, whatever happens.

    Raises:
        RuntimeError: A server did not start.
        InputError: The options do not fit together.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        home = options.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-")))
        home.mkdir(parents=True, exist_ok=True)
        console.print("Starting Prefect, a Hub, S3 and a Kubernetes API on this machine …")
        prefect = stack.enter_context(serve_prefect(home / "prefect", port=DEFAULT_PORT))
        os.environ["PREFECT_API_URL"], os.environ["PREFECT_HOME"] = prefect.api_url, str(prefect.home)
        wanted = {"hub": not options.hub, "s3": not options.store, "kubernetes": options.kubeconfig is None}
        names = tuple(name for name, needed in wanted.items() if needed)
        servers = stack.enter_context(serve(names, home, vllm=options.vllm))
        places = _places(options, servers)
        if options.kubeconfig is None:
            create_namespace(places)
        wait_until_healthy(prefect)
        console.print(f"Prefect: {prefect.url}. Registering blocks and deployments …")
        stack.enter_context(run_worker(prefect))
        save_blocks(places)
        register_deployments({options.preset, "any-preset", "stage-model"})
        yield Sandbox(places, servers, prefect, time.monotonic() - started)


def _places(options: RunOptions, servers: Servers) -> Places:
    bucket, _, prefix = options.store.removeprefix("s3://").partition("/")
    if options.store and not (options.store.startswith("s3://") and bucket):
        raise InputError(f"--store {options.store} is no S3 address.", fix="Write s3://bucket/prefix.")
    if options.kubeconfig is not None and not options.store:
        raise InputError(
            "A real cluster cannot read the sandbox's S3, which only this machine reaches.",
            fix="Give --store s3://bucket/prefix too.",
        )
    hub, s3, cluster = servers.hub, servers.s3, servers.kubernetes
    kubeconfig = options.kubeconfig or (cluster.kubeconfig if cluster else None)
    if kubeconfig is None:
        raise InputError("There is no cluster to deploy to.", fix="Give --kubeconfig PATH.")
    return Places(
        hub_url=options.hub or (hub.url if hub else ""),
        hub_token=os.environ.get("HF_TOKEN", "") if options.hub else (hub.token if hub else ""),
        bucket=bucket or "models",
        prefix=prefix,
        region=s3.region if s3 else os.environ.get("AWS_REGION", ""),
        s3_url=s3.url if s3 else "",
        access_key=s3.access_key if s3 else "",
        secret_key=s3.secret_key if s3 else "",
        kubeconfig=kubeconfig,
        namespace=options.namespace,
    )


def create_namespace(places: Places) -> None:
    """Creates the namespace of the sandbox's cluster."""
    from kube.apply import apply
    from kube.connect import from_kubeconfig

    with from_kubeconfig(places.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": places.namespace}})
