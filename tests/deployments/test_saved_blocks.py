"""Blocks from the environment, a kubeconfig or answers: what is needed, nothing else, and no secret in a message."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from deployments.saved_blocks import Sources, cluster_block, hub_block, store_block
from serving.errors import ClusterError, InputError


def kubeconfig(folder: Path, **user: Any) -> Path:
    """Two clusters; the second is the current one."""
    (folder / "ca.crt").write_text("a certificate")
    entries = ("first", "second")
    users = {"first": {"token": "token-of-first"}, "second": user or {"token": "token-of-second"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example.com"}} for name in entries],
        "users": [{"name": name, "user": users[name]} for name in entries],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in entries],
        "current-context": "second",
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_hub_from_the_environment() -> None:
    block = hub_block(Sources(environ={"HF_TOKEN": "hf_marked", "HF_ENDPOINT": "https://hub.example.com"}))
    assert block.token == SecretStr("hf_marked")
    assert block.endpoint == "https://hub.example.com"
    assert hub_block(Sources()).token is None


def test_a_person_is_asked_for_what_is_missing_and_a_token_unseen() -> None:
    asked: list[tuple[str, bool]] = []

    def answer(question: str, secret: bool) -> str:
        asked.append((question, secret))
        return {"Model store, s3://bucket/prefix": "s3://models/a", "Name of the EKS cluster": "prod"}.get(question, "")

    sources = Sources(environ={"KUBECONFIG": "", "HOME": "/nowhere"}, ask=answer)
    assert hub_block(sources).token is None
    assert (store_block(sources).bucket, store_block(sources).prefix) == ("models", "a")
    assert [secret for question, secret in asked if "token" in question] == [True]


def test_what_nobody_said_is_an_error_with_the_option() -> None:
    with pytest.raises(InputError, match="--store"):
        store_block(Sources())
    with pytest.raises(InputError, match="Choose one"):
        cluster_block(Sources(eks="prod", in_cluster=True))


def test_keys_are_saved_only_when_asked_to_and_when_they_last() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "marked"}
    plain = store_block(Sources(environ=keys, store="s3://models"))
    assert plain.credentials.aws_access_key_id is None
    saved = store_block(Sources(environ=keys, store="s3://models", save_aws_keys=True))
    assert saved.credentials.aws_secret_access_key == SecretStr("marked")
    with pytest.raises(InputError, match="temporary") as raised:
        store_block(Sources(environ={**keys, "AWS_SESSION_TOKEN": "x"}, store="s3://models", save_aws_keys=True))
    assert "marked" not in str(raised.value)


def test_one_context_of_a_kubeconfig_and_nothing_of_the_others(tmp_path: Path) -> None:
    block = cluster_block(Sources(kubeconfig=kubeconfig(tmp_path), namespace="inference"))
    assert block.kubeconfig is not None
    config = block.kubeconfig.cluster_config
    assert config is not None
    assert config.context_name == "second"
    assert "token-of-second" in str(config.config)
    assert "token-of-first" not in str(config.config)
    other = cluster_block(Sources(kubeconfig=kubeconfig(tmp_path), context="first"))
    assert other.kubeconfig is not None
    assert "token-of-second" not in str(other.kubeconfig.cluster_config)


def test_files_that_a_kubeconfig_names_come_along(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path)
    config = yaml.safe_load(path.read_text())
    config["users"][1]["user"] = {"token": "t"}
    path.write_text(yaml.safe_dump(config))
    from deployments.context import _with_contents

    found = _with_contents(
        {"clusters": [{"cluster": {"certificate-authority": "ca.crt"}}], "users": [{"user": {}}]}, tmp_path
    )
    assert found["clusters"][0]["cluster"] == {"certificate-authority-data": "YSBjZXJ0aWZpY2F0ZQ=="}


@pytest.mark.parametrize(
    "arguments",
    [
        ["eks", "get-token", "--cluster-name", "prod", "--region", "eu-west-1"],
        ["--region=eu-west-1", "eks", "get-token", "--cluster-name=prod"],
    ],
)
def test_a_context_that_needs_the_aws_command_is_saved_as_its_eks_cluster(tmp_path: Path, arguments: list[str]) -> None:
    path = kubeconfig(tmp_path, exec={"command": "aws", "args": arguments})
    block = cluster_block(Sources(kubeconfig=path))
    assert (block.eks_cluster, block.region, block.kubeconfig) == ("prod", "eu-west-1", None)


def test_a_kubeconfig_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no file"):
        cluster_block(Sources(kubeconfig=tmp_path / "missing"))
    with pytest.raises(ClusterError, match="third"):
        cluster_block(Sources(kubeconfig=kubeconfig(tmp_path), context="third"))
    with pytest.raises(InputError, match="--kubeconfig"):
        cluster_block(Sources(environ={"KUBECONFIG": "/a:/b"}))
