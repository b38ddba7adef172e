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


@pytest.mark.parametrize("defaults_only", [True, False])
def test_the_server_accepts_blocks_by_reference(defaults_only: bool) -> None:
    """As it checks a deployment's defaults (what is required may still be missing) and a run's parameters."""
    schema: dict[str, Any] = deploy_model.parameters.model_dump()
    given = {"cluster": REFERENCE, "hub": REFERENCE, "store": REFERENCE}
    preset = {} if defaults_only else {"preset": "qwen3-1.7b-vllm"}
    validate(given | preset, schema, raise_on_error=True, ignore_required=defaults_only)
