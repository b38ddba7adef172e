"""Blocks that a parameter may name by reference."""

from copy import deepcopy
from functools import cache
from typing import Any, ClassVar

from prefect.blocks.core import Block, schema_extra
from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema


def described_once(schema: dict[str, Any], model: type[Block]) -> None:
    """Adds what Prefect says of a block to its JSON schema, as ``json_schema_extra`` of the block's ``model_config``.

    Prefect works it out anew, down to the checksums of the blocks inside, wherever a flow has the block as a
    parameter: a fifth of the time in which our flows are imported (measured, Prefect 3.8).
    """
    schema.pop("description", None)
    schema.update(deepcopy(_description(model)))


@cache
def _description(model: type[Block]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    schema_extra(found, model)
    return found


class Referable:
    """Makes a saved block usable as a parameter: ``{"$ref": {"block_document_slug": "hugging-face-hub/default"}}``.

    Prefect's server checks that a run's parameter is a reference or the block's own fields, and exactly one of the two
    (3.8). A block whose fields all have defaults accepts any object, a reference too, so that every run by reference
    would be refused. One field is therefore required in the schema; in Python it keeps its default.
    """

    _required_in_schema: ClassVar[str]

    _secret_in_schema: ClassVar[tuple[str, ...]] = ()
    """Fields that hold secrets though their type does not say so, with the names on the way to them. The server shows
    them to nobody who does not ask for secrets, as it does with those of a secret type by itself."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        block = handler.resolve_ref_schema(schema)
        block["required"] = sorted({*block.get("required", ()), cls._required_in_schema})
        block["secret_fields"] = sorted({*block.get("secret_fields", ()), *cls._secret_in_schema})
        return schema
