"""The sandbox's Kubernetes API for its own tests."""

import itertools
from collections.abc import Iterator

import pytest
from kubernetes_http import Api, Space

from sandbox.kubernetes.server import KubernetesConfig, KubernetesServer, serve_kubernetes

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    """An API server over TLS without controllers: it stores and answers."""
    with serve_kubernetes(KubernetesConfig(tmp_path_factory.mktemp("api"), controllers=False)) as server:
        yield server


@pytest.fixture(scope="session")
def api(api_server: KubernetesServer) -> Api:
    """The administrator's client."""
    return Api(api_server.url, api_server.admin_token, api_server.ca_file)


@pytest.fixture
def space(api: Api) -> Space:
    """A new namespace."""
    name = f"space-{next(_numbers)}"
    assert api.post("/api/v1/namespaces", {"metadata": {"name": name}}).status == 201
    return Space(api, name)
