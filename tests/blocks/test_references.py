"""A run may name a saved block by reference: the parameter schema accepts exactly one of reference and block."""

from typing import Any

import jsonschema
import pytest
from prefect.utilities.schema_tools.validation import validate

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
