"""A Kubernetes API for tests of the cluster verbs: the sandbox's, or the real cluster of KUBE_TEST_KUBECONFIG."""

import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kube.apply import apply
from kube.connect import Cluster, from_kubeconfig
from kube.delete import delete
from sandbox.kubernetes.node import ImageConfig, NodeConfig, NodeTimings
from sandbox.kubernetes.server import KubernetesConfig, KubernetesServer, serve_kubernetes

REAL = os.environ.get("KUBE_TEST_KUBECONFIG", "")
PYTHON_IMAGE = "python:3.11"
"""Runs on a real cluster too."""


@dataclass(frozen=True)
class Place:
    """A namespace of its own in a cluster."""

    cluster: Cluster
    namespace: str


@pytest.fixture(scope="session")
def sandbox_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    """The sandbox's API server alone: it stores and answers, over TLS."""
    with serve_kubernetes(KubernetesConfig(tmp_path_factory.mktemp("api"), controllers=False)) as server:
        yield server


@pytest.fixture
def sandbox_place(sandbox_server: KubernetesServer) -> Iterator[Place]:
    """For tests that make the server fail."""
    with from_kubeconfig(sandbox_server.kubeconfig) as cluster:
        yield _place(cluster)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """For tests that hold on every cluster."""
    if not REAL:
        yield request.getfixturevalue("sandbox_place")
        return
    with from_kubeconfig(REAL) as cluster:
        own = _place(cluster)
        yield own
        delete(cluster, "v1", "Namespace", own.namespace, wait=None)


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    """A sandbox cluster with controllers and a node that runs Python."""
    image = ImageConfig(PYTHON_IMAGE, path=Path(sys.executable).parent)
    quick = NodeTimings(crash_backoff=0.2, crash_backoff_max=1.0, image_backoff=0.2, image_backoff_max=1.0, sync=0.1)
    config = KubernetesConfig(
        tmp_path_factory.mktemp("cluster"), nodes=(NodeConfig("node-a"),), images=(image,), node_timings=quick
    )
    with serve_kubernetes(config) as server:
        yield server


@pytest.fixture
def running_place(running_server: KubernetesServer) -> Iterator[Place]:
    """A place where pods run."""
    with from_kubeconfig(running_server.kubeconfig) as cluster:
        yield _place(cluster)


def _place(cluster: Cluster) -> Place:
    namespace = f"test-{uuid.uuid4().hex[:8]}"
    apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    return Place(cluster, namespace)
