"""`python -m sandbox`: everything on this machine, and one model's way through it by the Prefect API."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sandbox.kubernetes.controllers.volumes import DEFAULT_CLASS
from sandbox.kubernetes.disks import PROVISIONER
from sandbox.options import RunOptions, bucket_and_prefix, check
from sandbox.prefect_server import DEFAULT_PORT, PrefectServer, Worker, run_worker, serve_prefect, wait_until_healthy
from sandbox.registration import Places, load, register_deployments, save_blocks
from sandbox.servers import Servers, nodes_for, serve
from serving.catalog import get_preset, resolve
from serving.frameworks.groups import group_size
from serving.spec import EndpointSpec, Framework, NimOptions


@dataclass(frozen=True)
class Sandbox:
    """All that is up.

    Attributes:
        places: Where the flows find Hub, store and cluster.
        servers: The sandbox's own servers.
        prefect: The Prefect server.
        worker: Its worker.
        start_seconds: How long it took to get here.
    """

    places: Places
    servers: Servers
    prefect: PrefectServer
    worker: Worker
    start_seconds: float


@contextmanager
def sandbox(options: RunOptions, console: Console) -> Iterator[Sandbox]:
    """Starts everything, and stops all of it at the end, whatever happens.

    Raises:
        RuntimeError: A server did not start.
        InputError: An option names what is not there, or the options do not fit together: before anything starts.
    """
    started = time.monotonic()
    check(options)
    with ExitStack() as stack:
        home = options.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-")))
        home.mkdir(parents=True, exist_ok=True)
        wanted = {"hub": not options.hub, "s3": not options.store, "kubernetes": options.kubeconfig is None}
        names = tuple(name for name, needed in wanted.items() if needed)
        console.print(f"Starting {_listed(names)} on this machine …", highlight=False)
        prefect = stack.enter_context(serve_prefect(home / "prefect", port=DEFAULT_PORT))
        for name in ("PREFECT_API_URL", "PREFECT_API_SSL_CERT_FILE", "PREFECT_HOME"):
            os.environ[name] = prefect.env[name]
        spec = resolve(get_preset(options.preset))
        nodes = nodes_for(spec.instance_type, spec.replicas * group_size(spec))
        servers = stack.enter_context(serve(names, home, vllm=options.vllm, nodes=nodes))
        places = places_of(options, servers)
        if options.kubeconfig is None:
            prepare_cluster(places, spec)
        load()
        wait_until_healthy(prefect)
        console.print(f"Prefect: {prefect.url}. Registering blocks and deployments …", highlight=False)
        worker = stack.enter_context(run_worker(prefect))
        save_blocks(places)
        register_deployments({options.preset})
        yield Sandbox(places, servers, prefect, worker, time.monotonic() - started)


def _listed(names: tuple[str, ...]) -> str:
    titles = {"hub": "a Hub", "s3": "S3", "kubernetes": "a Kubernetes API"}
    *others, last = "Prefect", *(titles[name] for name in names)
    return f"{', '.join(others)} and {last}" if others else last


def places_of(options: RunOptions, servers: Servers) -> Places:
    """Where the flows find what they work with: what the options name, else the sandbox's own."""
    bucket, prefix = bucket_and_prefix(options.store)
    hub, s3, cluster = servers.hub, servers.s3, servers.kubernetes
    kubeconfig = options.kubeconfig or (cluster.kubeconfig if cluster else None)
    assert kubeconfig is not None  # there is a cluster: the given one, or the sandbox's
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


def prepare_cluster(places: Places, spec: EndpointSpec) -> None:
    """Creates what a person creates in a cluster: the namespace; for a NIM the Secrets with NGC's key, and disks."""
    from kube.apply import apply
    from kube.connect import from_kubeconfig

    with from_kubeconfig(places.kubeconfig) as cluster:
        apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": places.namespace}})
        if spec.framework is not Framework.NIM:
            return
        options = spec.nim or NimOptions()
        registry = json.dumps({"auths": {"nvcr.io": {"username": "$oauthtoken", "password": "sandbox"}}})
        for name, kind, data in (
            (options.key_secret, "Opaque", {"NGC_API_KEY": "sandbox"}),
            (options.pull_secret, "kubernetes.io/dockerconfigjson", {".dockerconfigjson": registry}),
        ):
            metadata = {"name": name, "namespace": places.namespace}
            secret = {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "stringData": data}
            apply(cluster, secret)
        if options.operator:
            apply(cluster, disks(options.storage_class or "disks"))


def disks(name: str) -> dict[str, Any]:
    """The storage class of a cluster whose claims get disks by themselves."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": {DEFAULT_CLASS: "true"}},
        "provisioner": PROVISIONER,
    }
