"""A run may name a saved block by reference: the parameter schema accepts exactly one of reference and block."""

from typing import Any

import jsonschema
import pytest
from prefect.blocks.core import Block
from prefect.utilities.schema_tools.validation import validate

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from flows.deploy_model import deploy_model

REFERENCE = {"$ref": {"block_document_slug": "some-block/default"}}


@pytest.mark.parametrize("parameter", ["cluster", "hub", "store"])
def test_a_reference_is_no_block_of_that_kind(parameter: str) -> None:
    schema: dict[str, Any] = deploy_model.parameters.model_dump()
    block = schema["properties"][parameter]
    root = {"definitions": schema["definitions"], **block}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(REFERENCE, root)


def test_a_block_of_defaults_is_still_a_block() -> None:
    schema: dict[str, Any] = deploy_model.parameters.model_dump()
    root = {"definitions": schema["definitions"], **schema["properties"]["hub"]}
    jsonschema.validate({"endpoint": "https://huggingface.co"}, root)


def test_the_server_takes_a_runs_blocks_by_reference() -> None:
    schema: dict[str, Any] = deploy_model.parameters.model_dump()
    given = {"cluster": REFERENCE, "hub": REFERENCE, "store": REFERENCE, "preset": "qwen3-1.7b-vllm"}
    validate(given, schema, raise_on_error=True)


def test_the_server_takes_a_deployments_blocks_by_reference() -> None:
    """It checks a deployment's defaults without the alternative of a reference, and without what is required."""
    schema: dict[str, Any] = deploy_model.parameters.model_dump()
    given = {"cluster": REFERENCE, "hub": REFERENCE, "store": REFERENCE}
    validate(given, schema, raise_on_error=True, preprocess=False, ignore_required=True)


@pytest.mark.parametrize(
    ("block", "hidden"),
    [
        (InferenceCluster, "kubeconfig.cluster_config.config.users"),
        (InferenceCluster, "aws_credentials.aws_session_token"),
        (ModelStore, "credentials.aws_session_token"),
        (ModelStore, "credentials.aws_secret_access_key"),
        (HuggingFaceHub, "token"),
    ],
)
def test_the_server_is_told_which_fields_it_must_not_show(block: type[Block], hidden: str) -> None:
    """What prefect-kubernetes and prefect-aws keep as plain text, too."""
    assert hidden in block.model_json_schema()["secret_fields"]
