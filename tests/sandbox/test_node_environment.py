"""What a container's process gets: its command, its environment, its paths."""

import base64
from pathlib import Path
from typing import Any

import pytest
from cluster_harness import container, pod, pod_spec
from hypothesis import given
from hypothesis import strategies as st

from sandbox.kubernetes.node import ImageConfig
from sandbox.kubernetes.node.environment import (
    ConfigError,
    PodFacts,
    argv,
    container_env,
    expand,
    process_env,
    service_links,
)
from sandbox.kubernetes.node.mounts import Mounts
from sandbox.kubernetes.node.volumes import VolumeError, set_up


class Objects:
    """Objects that pods refer to."""

    def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        data = {"token": base64.b64encode(b"hf_secret").decode()}
        return {"kind": "Secret", "data": data} if (namespace, name) == ("inference", "hf") else None

    def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        data = {"A": "1", "not a name": "x", "B": "2"}
        return {"kind": "ConfigMap", "data": data} if (namespace, name) == ("inference", "cfg") else None

    def services(self, namespace: str) -> list[dict[str, Any]]:
        spec = {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
        return [{"metadata": {"name": "vllm"}, "spec": spec}]


def facts(spec: dict[str, Any] | None = None, **changes: Any) -> PodFacts:
    made = pod("chat-1", spec or pod_spec(), uid="u1", labels={"app": "chat"}, annotations={"note": "hi"})
    made["spec"] |= {"nodeName": "node-a", "serviceAccountName": "default"}
    given = {"pod_ip": "127.70.0.2", "host_ip": "127.70.255.1", "node_capacity": {"cpu": "8", "memory": "32Gi"}}
    return PodFacts(pod=made, **{**given, **changes})


def env_of(*variables: dict[str, Any], **changes: Any) -> dict[str, str]:
    spec = container(env=list(variables), **changes)
    return container_env(spec, facts(pod_spec(spec, enableServiceLinks=False)), Objects())


def ref(variable: str, kind: str, /, **fields: Any) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {kind: fields}}


def test_values_come_from_everywhere() -> None:
    env = env_of(
        {"name": "PLAIN", "value": "x"},
        ref("TOKEN", "secretKeyRef", name="hf", key="token"),
        ref("B", "configMapKeyRef", name="cfg", key="B"),
        ref("NAME", "fieldRef", fieldPath="metadata.name"),
        ref("APP", "fieldRef", fieldPath="metadata.labels['app']"),
        ref("NOTE", "fieldRef", fieldPath="metadata.annotations['note']"),
        ref("POD_IP", "fieldRef", fieldPath="status.podIP"),
        ref("NODE", "fieldRef", fieldPath="spec.nodeName"),
        {"name": "URL", "value": "http://$(POD_IP):$(PORT)/$$(POD_IP)"},
    )
    assert env == {
        "PLAIN": "x",
        "TOKEN": "hf_secret",
        "B": "2",
        "NAME": "chat-1",
        "APP": "chat",
        "NOTE": "hi",
        "POD_IP": "127.70.0.2",
        "NODE": "node-a",
        "URL": "http://127.70.0.2:$(PORT)/$(POD_IP)",
    }


def test_whole_objects_as_environment() -> None:
    source = [{"prefix": "X_", "configMapRef": {"name": "cfg"}}, {"secretRef": {"name": "none", "optional": True}}]
    env = env_of({"name": "SUM", "value": "$(X_A)$(X_B)"}, envFrom=source)
    assert env == {"X_A": "1", "X_B": "2", "SUM": "12"}


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        (ref("T", "secretKeyRef", name="no", key="token"), 'secret "no" not found'),
        (ref("T", "secretKeyRef", name="hf", key="no"), "couldn't find key no in Secret inference/hf"),
        (ref("T", "configMapKeyRef", name="no", key="x"), 'configmap "no" not found'),
        (ref("T", "configMapKeyRef", name="cfg", key="x"), "couldn't find key x in ConfigMap inference/cfg"),
    ],
)
def test_what_is_missing_is_named(variable: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        env_of(variable)
    assert str(error.value) == text


def test_optional_references_may_be_missing() -> None:
    assert env_of(ref("T", "secretKeyRef", name="no", key="x", optional=True)) == {}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", None, "2"),
        ("limits.memory", "1Mi", "512"),
        ("requests.cpu", "1m", "500"),
        ("requests.memory", None, "0"),
    ],
)
def test_resources_as_values(resource: str, divisor: str | None, value: str) -> None:
    fields = {"resource": resource, **({"divisor": divisor} if divisor else {})}
    resources = {"limits": {"cpu": "1500m", "memory": "512Mi"}, "requests": {"cpu": "500m"}}
    assert env_of(ref("R", "resourceFieldRef", **fields), resources=resources)["R"] == value


def test_a_limit_that_is_not_set_is_the_nodes() -> None:
    assert env_of(ref("R", "resourceFieldRef", resource="limits.cpu"))["R"] == "8"


def test_every_service_is_announced() -> None:
    links = service_links(Objects().services("inference"))
    assert links == {
        "VLLM_SERVICE_HOST": "10.96.0.7",
        "VLLM_SERVICE_PORT": "80",
        "VLLM_SERVICE_PORT_HTTP": "80",
        "VLLM_PORT": "tcp://10.96.0.7:80",
        "VLLM_PORT_80_TCP": "tcp://10.96.0.7:80",
        "VLLM_PORT_80_TCP_PROTO": "tcp",
        "VLLM_PORT_80_TCP_PORT": "80",
        "VLLM_PORT_80_TCP_ADDR": "10.96.0.7",
    }


@given(st.text(), st.dictionaries(st.text("AB_", min_size=1), st.text("xyz")))
def test_text_without_references_stays(text: str, values: dict[str, str]) -> None:
    plain = text.replace("$", "")
    assert expand(plain, values) == plain
    assert expand(plain.replace("(", "") + "$$(A)", {**values, "A": "no"}).endswith("$(A)")


MOUNTS = Mounts(
    {"/models": Path("/s/v/models"), "/models/cache": Path("/s/v/cache"), "/etc/cfg/": Path("/s/v/cfg")}, Path("/s/c")
)


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("/models", "/s/v/models"),
        ("/models/org/name", "/s/v/models/org/name"),
        ("/models/cache/x", "/s/v/cache/x"),
        ("--model=/models/x", "--model=/s/v/models/x"),
        ("a:/models:/etc/cfg/b", "a:/s/v/models:/s/v/cfg/b"),
        ("cp /models/a '/etc/cfg'", "cp /s/v/models/a '/s/v/cfg'"),
        ("file:///models/x", "file:///s/v/models/x"),
        ("s3://bucket/models/x", "s3://bucket/models/x"),
        ("https://host/models", "https://host/models"),
        ("/modelsx", "/modelsx"),
        ("/srv/models", "/srv/models"),
        ("/models.bak", "/models.bak"),
        ("./models", "./models"),
    ],
)
def test_mount_paths_are_rewritten_where_a_path_begins(text: str, rewritten: str) -> None:
    assert MOUNTS.rewrite(text) == rewritten


@given(st.text(alphabet="abc /.:=-'"))
def test_text_without_mount_paths_stays(text: str) -> None:
    assert MOUNTS.rewrite(text) == text


@pytest.mark.parametrize(
    ("path", "folder"), [("", "/s/c"), ("/models/x", "/s/v/models/x"), ("/workspace/app", "/s/c/workspace/app")]
)
def test_where_a_container_starts(path: str, folder: str) -> None:
    assert MOUNTS.working_dir(path) == Path(folder)


def test_nothing_of_the_servers_environment_gets_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-developer's")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    image = ImageConfig("x", path=tmp_path, env={"IMAGE": "1", "NODE": "image"})
    mounts = Mounts({"/models": Path("/s/v/models")}, Path("/s/c"))
    env = process_env(image, {"M": "/models/x", "IMAGE": "2"}, facts(node_env={"NODE": "node", "ROLE": "r"}), mounts)
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert "/somewhere" not in env["PYTHONPATH"]
    assert (env["IMAGE"], env["NODE"], env["ROLE"], env["M"]) == ("2", "image", "r", "/s/v/models/x")
    assert env["HOME"] == "/s/c"
    assert env["PATH"].split(":")[0] == str(tmp_path)


def test_the_images_own_command(tmp_path: Path) -> None:
    (tmp_path / "vllm").touch()
    image = ImageConfig("x", path=tmp_path, entrypoint=("serve",), cmd=("--all",))
    mounts = Mounts({}, tmp_path)

    def words(**spec: Any) -> list[str]:
        return argv({"name": "c", **spec}, image, {"MODEL": "m"}, mounts)

    assert words() == ["serve", "--all"]
    assert words(args=["$(MODEL)"]) == ["serve", "m"]
    assert words(command=["run"]) == ["run"]
    assert words(command=["run"], args=["a"]) == ["run", "a"]
    assert words(command=["/opt/venv/bin/vllm"]) == [str(tmp_path / "vllm")]


def persistent(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "pv"}, "spec": spec}


class Claims(Objects):
    """One claim, bound to a volume or to none."""

    def __init__(self, bound: dict[str, Any] | None = None) -> None:
        self.bound = bound

    def volume_of_claim(self, namespace: str, claim: str) -> dict[str, Any] | None:
        return self.bound if (namespace, claim) == ("inference", "model") else None

    def token(self, pod: dict[str, Any], audience: str) -> str | None:
        return None


CLAIMED = {"name": "weights", "persistentVolumeClaim": {"claimName": "model"}}
S3_VOLUME = persistent(csi={"driver": "s3.csi.aws.com"})


def test_a_claims_volume_is_the_nodes_driver_to_fill(tmp_path: Path) -> None:
    there = facts(csi_drivers=("s3.csi.aws.com",))
    assert set_up(CLAIMED, tmp_path / "weights", there, Claims(S3_VOLUME)) == S3_VOLUME
    assert set_up({"name": "scratch", "emptyDir": {}}, tmp_path / "scratch", there, Claims()) is None
    assert not list((tmp_path / "weights").iterdir())


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        (None, 'persistentvolumeclaim "model" not found'),
        (S3_VOLUME, "driver name s3.csi.aws.com not found in the list of registered CSI drivers"),
        (persistent(hostPath={"path": "/srv"}), "the sandbox has no hostPath volumes"),
    ],
)
def test_a_claim_that_nothing_fills_is_refused(bound: dict[str, Any] | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=r'^MountVolume\.SetUp failed for volume "weights" : ') as refused:
        set_up(CLAIMED, tmp_path / "weights", facts(), Claims(bound))
    assert said in str(refused.value)
