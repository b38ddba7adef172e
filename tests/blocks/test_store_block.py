"""ModelStore and HuggingFaceHub: what they accept, and what they never show."""

import json

import pytest
from prefect_aws import AwsCredentials
from pydantic import SecretStr, ValidationError

from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore

SECRETS = {"aws_secret_access_key": "marked-secret-key", "aws_session_token": "marked-session-token"}


def store_with_keys() -> ModelStore:
    credentials = AwsCredentials(aws_access_key_id="AKIAEXAMPLE", region_name="eu-west-1", **SECRETS)
    return ModelStore(bucket="models", prefix="staged/", credentials=credentials)


def test_access_carries_bucket_prefix_region_and_identity() -> None:
    access = store_with_keys().access()
    assert (access.bucket, access.prefix, access.region, access.endpoint_url) == ("models", "staged", "eu-west-1", "")
    frozen = access.session.get_credentials().get_frozen_credentials()
    assert frozen.access_key == "AKIAEXAMPLE"
    assert frozen.token == SECRETS["aws_session_token"]


def test_own_region_wins_over_the_credentials() -> None:
    credentials = AwsCredentials(aws_access_key_id="A", aws_secret_access_key=SecretStr("s"), region_name="eu-west-1")
    access = ModelStore(bucket="models", region="us-west-2", credentials=credentials).access()
    assert access.region == "us-west-2"
    assert access.session.region_name == "us-west-2"
    assert access.session.get_credentials().access_key == "A"
    assert access.session.client("s3").meta.region_name == "us-west-2"


@pytest.mark.parametrize("mode", ["json", "python"])
def test_a_dump_shows_no_secret(mode: str) -> None:
    dumped = repr(store_with_keys().model_dump(mode=mode))
    for secret in SECRETS.values():
        assert secret not in dumped


def test_saving_keeps_the_session_token() -> None:
    saved = store_with_keys().model_dump(mode="json", context={"include_secrets": True})
    assert saved["credentials"]["aws_session_token"] == SECRETS["aws_session_token"]


@pytest.mark.parametrize("bucket", ["s3://models", "Models", "a", "models/"])
def test_a_wrong_bucket_name_is_refused(bucket: str) -> None:
    with pytest.raises(ValidationError):
        ModelStore(bucket=bucket)


def test_the_hub_token_stays_secret() -> None:
    block = HuggingFaceHub(token=SecretStr("hf_marked"), endpoint="https://hub.example/")
    assert "hf_marked" not in repr(block) + repr(block.access()) + json.dumps(block.model_dump(mode="json"))
    assert block.access().endpoint == "https://hub.example"
    assert block.access().token == SecretStr("hf_marked")
