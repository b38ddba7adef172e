"""InferenceCluster: exactly one way to a cluster, and nothing of the credentials where people can see them."""

import base64
import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from prefect_aws import AwsCredentials
from prefect_kubernetes.credentials import KubernetesClusterConfig, KubernetesCredentials
from pydantic import SecretStr, ValidationError

from blocks.cluster import MASK, InferenceCluster
from serving.errors import ClusterError

TOKEN = "marked-kubernetes-token"
KEY = base64.b64encode(b"marked-client-key").decode()
SESSION_TOKEN = "marked-session-token"
SECRETS = (TOKEN, KEY, SESSION_TOKEN)


def config(*contexts: str) -> dict[str, Any]:
    names = contexts or ("prod",)
    return {
        "current-context": names[0],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, "namespace": f"ns-{name}"}} for name in names
        ],
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example.com"}} for name in names],
        "users": [{"name": name, "user": {"token": TOKEN, "client-key-data": KEY}} for name in names],
    }


def kubeconfig(*contexts: str) -> KubernetesClusterConfig:
    return KubernetesClusterConfig(config=config(*contexts), context_name=(contexts or ("prod",))[0])


def credentials() -> KubernetesCredentials:
    return KubernetesCredentials(cluster_config=kubeconfig())


def aws() -> AwsCredentials:
    return AwsCredentials(
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key=SecretStr("marked"),
        aws_session_token=SESSION_TOKEN,
        region_name="us-west-2",
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "Choose a way to the cluster"),
        ({"kubeconfig": credentials(), "in_cluster": True}, "not Kubeconfig and Inside the cluster"),
        ({"kubeconfig": credentials(), "eks_cluster": "prod"}, "not Kubeconfig and EKS cluster"),
        ({"in_cluster": True, "eks_cluster": "prod"}, "not EKS cluster and Inside the cluster"),
        ({"in_cluster": True, "context": "prod"}, "A context belongs to a kubeconfig"),
        ({"in_cluster": True, "region": "us-west-2"}, "for an EKS cluster"),
        ({"kubeconfig": credentials(), "aws_credentials": aws()}, "for an EKS cluster"),
        ({"eks_cluster": "arn:aws:eks:us-west-2:1:cluster/prod"}, "eks_cluster"),
        ({"eks_cluster": "prod", "region": "Oregon"}, "region"),
        ({"in_cluster": True, "namespace": "Not_A_Label"}, "namespace"),
    ],
)
def test_exactly_one_way_and_what_belongs_to_it(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        InferenceCluster(**fields)
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(secret in shown for secret in SECRETS)


def test_a_kubeconfig() -> None:
    with InferenceCluster(kubeconfig=credentials(), namespace="serving").connect() as cluster:
        assert (cluster.server, cluster.namespace, cluster.name) == ("https://prod.example.com", "serving", "prod")
        assert cluster.api_client.configuration.api_key["BearerToken"] == f"Bearer {TOKEN}"


def test_a_bare_cluster_config_and_another_context() -> None:
    block = InferenceCluster(kubeconfig=kubeconfig("prod", "stage"), context="stage")
    with block.connect() as cluster:
        assert (cluster.server, cluster.namespace) == ("https://stage.example.com", "default")


def test_a_context_that_there_is_not() -> None:
    with pytest.raises(ClusterError, match="no context 'nope', it has prod") as caught:
        InferenceCluster(kubeconfig=credentials(), context="nope").connect()
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_kubernetes_credentials_without_a_config_mean_the_default_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    (tmp_path / "config").write_text(json.dumps(config()))
    with InferenceCluster(kubeconfig=KubernetesCredentials()).connect() as cluster:
        assert cluster.server == "https://prod.example.com"


def test_inside_the_cluster_needs_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError) as caught:
        InferenceCluster(in_cluster=True).connect()
    assert caught.value.code == "cluster.not_in_cluster"


def test_eks_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_EKS", "http://127.0.0.1:9")
    with pytest.raises(ClusterError, match="EKS cluster prod in us-west-2") as caught:
        InferenceCluster(eks_cluster="prod", aws_credentials=aws()).connect()
    assert caught.value.code == "eks.unreachable"


def test_an_aws_profile_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    profile = AwsCredentials(profile_name="nobody")
    with pytest.raises(ClusterError, match="does not accept the credentials, or there are none") as caught:
        InferenceCluster(eks_cluster="prod", region="us-west-2", aws_credentials=profile).connect()
    assert caught.value.code == "eks.credentials"


BLOCKS = [
    InferenceCluster(kubeconfig=credentials()),
    InferenceCluster(eks_cluster="prod", region="us-west-2", aws_credentials=aws()),
]


@pytest.mark.parametrize("block", BLOCKS, ids=["kubeconfig", "eks"])
def test_no_secret_is_shown(block: InferenceCluster) -> None:
    shown = [repr(block), str(block), repr(block.model_dump()), block.model_dump_json()]
    for secret in SECRETS:
        assert not any(secret in text for text in shown)


def test_saving_keeps_what_connecting_needs() -> None:
    saved = BLOCKS[0].model_dump(mode="json", context={"include_secrets": True})
    assert saved["kubeconfig"]["cluster_config"]["config"]["users"][0]["user"]["token"] == TOKEN
    restored = InferenceCluster.model_validate(saved)
    with restored.connect() as cluster:
        assert cluster.api_client.configuration.api_key["BearerToken"] == f"Bearer {TOKEN}"


def test_a_masked_copy_says_that_it_cannot_connect() -> None:
    masked = InferenceCluster.model_validate(BLOCKS[0].model_dump(mode="json"))
    with pytest.raises(ClusterError, match="user 'prod' is malformed") as caught:
        masked.connect()
    assert MASK not in str(caught.value)


def test_the_form_has_a_title_and_a_description_for_every_field() -> None:
    schema = InferenceCluster.model_json_schema()
    assert InferenceCluster.get_block_type_slug() == "inference-cluster"
    assert InferenceCluster._block_type_name == "Inference Cluster"
    for name, field in schema["properties"].items():
        assert field.get("title"), name
        assert field.get("description"), name


@pytest.mark.server
def test_a_saved_block_connects_after_loading(prefect_server: str) -> None:
    BLOCKS[0].save("round-trip", overwrite=True)
    loaded = InferenceCluster.load("round-trip")
    assert isinstance(loaded, InferenceCluster)
    with loaded.connect() as cluster:
        assert cluster.api_client.configuration.api_key["BearerToken"] == f"Bearer {TOKEN}"
    assert TOKEN not in repr(loaded)
