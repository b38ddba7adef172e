"""Groups of parameters whose JSON schema a person can fill in as a form.

Prefect draws its run form from the JSON schema. What pydantic writes for ``T | None`` becomes two tabs, *int* and
*None*, and a group that may be missing shows nothing until its tab is chosen. Here such a field is a plain one that may
stay empty: what is empty is not sent, and the model's default counts.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.fields import ComputedFieldInfo, FieldInfo
from pydantic_core import CoreSchema

_WORDS = {
    "api": "API",
    "args": "arguments",
    "cpu": "CPU",
    "ctx": "context",
    "dtype": "data type",
    "efa": "EFA",
    "env": "environment",
    "gpu": "GPU",
    "kv": "KV",
    "len": "length",
    "lws": "LeaderWorkerSet",
    "max": "maximum",
    "min": "minimum",
    "nim": "NVIDIA NIM",
    "num": "number of",
    "repo": "repository",
    "seqs": "sequences",
    "vllm": "vLLM",
}


def title(name: str, field: FieldInfo | ComputedFieldInfo | None = None) -> str:  # noqa: ARG001 - pydantic passes it
    """Returns a field's name as a heading: ``max_model_len`` → ``Maximum model length``."""
    words = " ".join(_WORDS.get(word, word) for word in name.split("_"))
    return words[:1].upper() + words[1:]


class FormGroup(BaseModel):
    """Base of parameter groups: frozen, without unknown fields, and with a schema that makes a good form."""

    model_config = ConfigDict(frozen=True, extra="forbid", field_title_generator=title)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        group = handler.resolve_ref_schema(schema)
        fields = group.get("properties", {})
        for position, (name, field) in enumerate(fields.items()):
            fields[name] = _plain(field, handler) | {"position": position}
        return schema


def _plain(field: dict[str, Any], handler: GetJsonSchemaHandler) -> dict[str, Any]:
    """The field without its branch for None. A choice keeps it, as one more choice: else it could not be taken back."""
    branches = [branch for branch in field.get("anyOf", ()) if branch != {"type": "null"}]
    if len(branches) != 1 or len(branches) == len(field["anyOf"]):
        return field
    own = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    branch: dict[str, Any] = branches[0]
    known = handler.resolve_ref_schema(branch) if "$ref" in branch else branch
    if known.get("type") == "boolean":
        # A switch is on or off; this one may also be neither.
        return own | {"enum": [True, False, None]}
    if "enum" in known:
        return own | {"enum": [*known["enum"], None]}
    return branch | own
