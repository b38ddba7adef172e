"""Some fields of a model, each checked as the model would: what differs from values that stand elsewhere."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, Field, GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

from serving.forms import FormGroup


class Partly:
    """Makes an annotated mapping hold any of a model's fields, and no others.

    Nothing is filled in, nothing is required, and rules between fields wait until the whole is known. An instance of
    the model stands for the fields that were given when it was made.

    Args:
        model: The model whose fields are taken.
        defaults: Whether the descriptions tell the model's defaults: where these count, and not values that stand
            elsewhere.
    """

    def __init__(self, model: type[BaseModel], *, defaults: bool = False) -> None:
        self.model = model
        self.fields = partial(model, defaults=defaults)

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            _given,
            core_schema.no_info_after_validator_function(_given, handler.generate_schema(self.fields)),
            serialization=core_schema.plain_serializer_function_ser_schema(dict),
        )


@cache
def partial(model: type[BaseModel], *, defaults: bool) -> type[BaseModel]:
    """Returns the model with every field optional and no rules between fields."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        description = field.description or ""
        if defaults and field.default not in (None, PydanticUndefined, "", {}, ()):
            description = f"{description}; by default {field.default}"
        fields[name] = (
            field.rebuild_annotation() | None,
            Field(default=None, title=field.title, description=description),
        )
    return create_model(f"Partial{model.__name__}", __base__=FormGroup, __doc__=model.__doc__, **fields)


def _given(value: Any) -> Any:
    if value is None:
        return {}
    if isinstance(value, BaseModel):
        return {name: part for name in value.model_fields_set if (part := getattr(value, name)) is not None}
    if isinstance(value, Mapping):
        return {name: part for name, part in value.items() if part is not None}
    return value
