"""Ways to a cluster, and what is said when one is wrong; never the credentials."""

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from scripted_api import TOKEN, Answer, Asked, kubeconfig, scripted_api, status

from kube.connect import Cluster, from_kubeconfig, in_cluster
from kube.discovery import server_version
from kube.read import list_
from sandbox.kubernetes.server import KubernetesServer
from serving.errors import ClusterError

VERSION = Answer(200, {"major": "1", "minor": "36+", "gitVersion": "v1.36.2"})


def config(**user: object) -> dict:
    parsed = yaml.safe_load(kubeconfig("https://api.example.com"))
    parsed["users"][0]["user"] = user or {"token": TOKEN}
    return parsed


def test_a_kubeconfigs_token_and_namespace_are_used() -> None:
    with scripted_api(lambda _: VERSION) as api:
        version = server_version(api.cluster)
        assert (version.major, version.minor, version.git_version) == (1, 36, "v1.36.2")
        assert api.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert api.asked[0].headers["user-agent"] == "inference-flows"
        assert api.cluster.namespace == "inference"
        assert api.cluster.name == "test"


def test_a_path_several_paths_text_and_contents_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = kubeconfig("http://127.0.0.1:1")
    path = tmp_path / "config"
    path.write_text(text)
    other = tmp_path / "other"
    other.write_text(kubeconfig("http://127.0.0.1:2").replace("name: test", "name: other"))
    monkeypatch.setenv("KUBECONFIG", f"{path}:{other}:{tmp_path / 'missing'}")
    for source in (path, str(path), text, yaml.safe_load(text), None):
        with from_kubeconfig(source) as cluster:
            assert (cluster.server, cluster.namespace) == ("http://127.0.0.1:1", "inference")
    with from_kubeconfig(None, namespace="else") as cluster:
        assert cluster.namespace == "else"


def test_certificate_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    parsed = config()
    parsed["clusters"][0]["cluster"]["certificate-authority"] = "ca.crt"
    (tmp_path / "config").write_text(yaml.safe_dump(parsed))
    with pytest.raises(ClusterError, match="File does not exist") as caught:
        from_kubeconfig(tmp_path / "config")
    assert caught.value.code == "cluster.kubeconfig"
    (tmp_path / "ca.crt").write_text("-")
    with from_kubeconfig(tmp_path / "config") as cluster:
        assert cluster.api_client.configuration.ssl_ca_cert == str(tmp_path / "ca.crt")


def without(section: str) -> Callable[[dict], None]:
    return lambda parsed: parsed.update({section: []})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda parsed: parsed.update({"current-context": "prod"}), "there is no context 'prod', it has test"),
        (lambda parsed: parsed.pop("current-context"), "no context is chosen, it has test"),
        (without("contexts"), "it has none"),
        (without("clusters"), "there is no cluster 'test'"),
        (without("users"), "there is no user 'test'"),
        (lambda parsed: parsed["clusters"][0]["cluster"].pop("server"), "has no server address"),
        (lambda parsed: parsed.pop("clusters"), "no list of clusters"),
        (lambda parsed: parsed["users"][0].update(user=f"{TOKEN}"), "malformed"),
        (
            lambda parsed: parsed["clusters"][0]["cluster"].update({"certificate-authority-data": "abc"}),
            "cannot be read",
        ),
    ],
)
def test_what_is_wrong_with_a_kubeconfig_is_said_without_quoting_it(change: Callable, says: str) -> None:
    parsed = config()
    change(parsed)
    with pytest.raises(ClusterError, match=says) as caught:
        from_kubeconfig(parsed)
    assert caught.value.code == "cluster.kubeconfig"
    assert_hidden(caught.value)


def test_yaml_that_does_not_parse_is_not_quoted() -> None:
    with pytest.raises(ClusterError, match=r"not YAML \(line 2\)") as caught:
        from_kubeconfig(f"users:\n- {{token: {TOKEN}: [\n")
    assert_hidden(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"there is no file .*nothing-here"):
        from_kubeconfig(tmp_path / "nothing-here")


def test_a_credential_command_that_is_not_installed() -> None:
    with pytest.raises(ClusterError, match="not installed") as caught:
        from_kubeconfig(config(exec={"command": "aws-not-here", "apiVersion": "client.authentication.k8s.io/v1"}))
    assert caught.value.code == "cluster.credentials"
    assert "EKS cluster needs no command" in caught.value.fix


def test_a_credential_command_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(ClusterError, match="the command false, which failed"):
        from_kubeconfig(config(exec={"command": "false", "apiVersion": "client.authentication.k8s.io/v1"}))


def test_a_credential_command_gives_the_token(tmp_path: Path) -> None:
    version = "client.authentication.k8s.io/v1"
    credential = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": {"token": "from-command"}})
    parsed = config(exec={"command": "echo", "args": [credential], "apiVersion": version, "interactiveMode": "Never"})
    with scripted_api(lambda _: VERSION) as api:
        parsed["clusters"][0]["cluster"]["server"] = api.url
        with from_kubeconfig(parsed) as cluster:
            server_version(cluster)
        assert api.asked[0].headers["authorization"] == "Bearer from-command"


def test_a_kubeconfig_that_was_renewed_meanwhile_is_read_again(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        fresh = asked.headers["authorization"] == "Bearer fresh"
        return VERSION if fresh else status(401, "Unauthorized", "Unauthorized")

    path = tmp_path / "config"
    with scripted_api(answer) as api:
        path.write_text(kubeconfig(api.url, "stale"))
        with from_kubeconfig(path) as cluster:
            with pytest.raises(ClusterError) as caught:
                server_version(cluster)
            assert caught.value.code == "cluster.unauthorized"
            path.write_text(kubeconfig(api.url, "fresh"))
            assert server_version(cluster).minor == 36
        assert len(api.asked) == 4


def test_a_credential_command_is_asked_again_when_its_token_is_refused(tmp_path: Path) -> None:
    version = "client.authentication.k8s.io/v1"
    credential = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": "first"}}
    (tmp_path / "credential").write_text(json.dumps(credential))
    parsed = config(exec={"command": "cat", "args": [str(tmp_path / "credential")], "apiVersion": version})
    answers = iter([VERSION, status(401, "Unauthorized", "Unauthorized"), VERSION])
    with scripted_api(lambda _: next(answers)) as api:
        parsed["clusters"][0]["cluster"]["server"] = api.url
        with from_kubeconfig(parsed) as cluster:
            server_version(cluster)
            (tmp_path / "credential").write_text(json.dumps(credential).replace("first", "second"))
            server_version(cluster)
        tokens = [asked.headers["authorization"] for asked in api.asked]
    assert tokens == ["Bearer first", "Bearer first", "Bearer second"]


def test_nothing_shows_the_token_or_a_password_in_the_address() -> None:
    parsed = config()
    parsed["clusters"][0]["cluster"]["server"] = f"https://user:{TOKEN}@api.example.com"
    with from_kubeconfig(parsed) as cluster:
        assert cluster.server == "https://api.example.com"
        assert TOKEN not in repr(cluster)


def pod(directory: Path, token: str = "pod-token") -> Path:
    (directory / "token").write_text(token)
    (directory / "ca.crt").write_text("-")
    (directory / "namespace").write_text("serving\n")
    return directory


def test_inside_a_pod_its_service_account_is_used(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with in_cluster(directory=pod(tmp_path), environ=environ) as cluster:
        assert isinstance(cluster, Cluster)
        assert (cluster.server, cluster.namespace) == ("https://10.0.0.1:443", "serving")
        assert cluster.api_client.configuration.api_key["BearerToken"] == "bearer pod-token"
    with in_cluster(directory=tmp_path, environ=environ, namespace="else") as cluster:
        assert cluster.namespace == "else"


def test_a_pods_own_token_and_authority_reach_the_api_server(sandbox_server: KubernetesServer, tmp_path: Path) -> None:
    assert sandbox_server.ca_file is not None
    host, port = sandbox_server.url.removeprefix("https://").split(":")
    (tmp_path / "token").write_text(sandbox_server.admin_token)
    (tmp_path / "ca.crt").write_bytes(sandbox_server.ca_file.read_bytes())
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    with in_cluster(directory=tmp_path, environ=environ) as cluster:
        assert server_version(cluster).major == 1
        assert list_(cluster, "v1", "Namespace")


@pytest.mark.parametrize("missing", ["environment", "token"])
def test_outside_of_a_pod_it_is_said(tmp_path: Path, missing: str) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    if missing == "environment":
        pod(tmp_path)
        environ = {}
    with pytest.raises(ClusterError, match="does not run in a pod") as caught:
        in_cluster(directory=tmp_path, environ=environ)
    assert caught.value.code == "cluster.not_in_cluster"


def assert_hidden(error: ClusterError) -> None:
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert TOKEN not in shown
