"""Blocks that a parameter may name by reference."""

from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema


class Referable:
    """Makes a saved block usable as a parameter: ``{"$ref": {"block_document_slug": "hugging-face-hub/default"}}``.

    Prefect's server accepts a reference or the block's own fields, and exactly one of the two. A block whose fields all
    have defaults accepts any object, a reference too, so that every run by reference would be refused (Prefect 3.8).
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        # Not "required", which the server takes out of the schema when it checks a deployment's defaults.
        handler.resolve_ref_schema(schema)["propertyNames"] = {"not": {"const": "$ref"}}
        return schema
