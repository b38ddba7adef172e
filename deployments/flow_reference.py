"""docs/flows.md, written from the flows: what each does, its parameters and how to start it.

python -m deployments.flow_reference          writes the page
python -m deployments.flow_reference --check  says whether it is as it should be
"""

import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prefect.flows import Flow
from prefect.utilities.importtools import import_object
from pydantic import BaseModel

from deployments.register import read
from serving import spec

PATH = Path(__file__).parents[1] / "docs" / "flows.md"

HEADER = """\
# Flows and their parameters

<!-- Written by `python -m deployments.flow_reference` from the code: change that, not this. -->

Each flow has a deployment, each preset of the catalogue has one of `deploy-model`. Start one in the UI (Deployments →
name → Run → Custom run: the form shows these parameters under their headings), from a shell
(`prefect deployment run`), by a schedule or by an automation. A parameter is given as `-p name=value`; groups, lists
and maps are written as JSON: `-p 'model={"repo_id": "Qwen/Qwen3-1.7B"}'`.

The blocks named `default` are used unless a run names others:
`-p 'cluster={"$ref": {"block_document_slug": "inference-cluster/staging"}}'`. No parameter takes a secret: tokens and
keys are in [blocks](concepts.md#blocks).
"""

EXAMPLES = {"preset": "qwen3-1.7b-vllm", "endpoint": "chat"}
"""Values of the parameters that must be given."""

MODELS = {
    "deploy-diffusers": "stabilityai/stable-diffusion-xl-base-1.0",
    "deploy-llama-cpp": "Qwen/Qwen3-1.7B-GGUF",
    "deploy-nim": "meta/llama-3.1-8b-instruct",
}
"""Models for the flows that serve others than the first example's."""

Schema = dict[str, Any]
Row = tuple[str, str, str, str]
Groups = dict[str, list[Row]]
"""Rows of the groups that were met, by their names."""


def text() -> str:
    """What docs/flows.md must hold."""
    flows: dict[str, tuple[Flow[..., Any], str]] = {}
    for entry in read():
        flow: Flow[..., Any] = import_object(entry["entrypoint"])
        flows.setdefault(flow.name, (flow, entry["name"]))
    groups: Groups = {}
    parts = [HEADER, "".join(f"- [`{name}`](#{name})\n" for name in flows)]
    parts += [_flow(flow, deployment, groups) for flow, deployment in flows.values()]
    parts.append("## Groups of fields\n")
    parts += [f"### {name}\n\n{_table(rows)}" for name, rows in sorted(groups.items())]
    return "\n".join(parts)


def _flow(flow: Flow[..., Any], deployment: str, groups: Groups) -> str:
    schema = flow.parameters.model_dump(mode="json")
    told = inspect.getdoc(flow.fn) or ""
    return "\n".join(
        (
            f"## {flow.name}\n",
            told.split("\n\nArgs:")[0].replace("``", "`") + "\n",
            f"```bash\n{_example(flow.name, deployment, schema)}\n```\n",
            _table(_rows(schema, schema, groups)),
        )
    )


def _example(flow: str, deployment: str, schema: Schema) -> str:
    words = [f"prefect deployment run '{flow}/{deployment}'"]
    for name in schema["required"]:
        if "block_type_slug" in _resolved(schema["properties"][name], schema):
            continue
        if name == "model":
            words.append(f'-p \'model={{"repo_id": "{MODELS.get(flow, "Qwen/Qwen3-1.7B")}"}}\'')
        else:
            words.append(f"-p {name}={EXAMPLES[name]}")
    return " ".join([*words, "--watch"])


def _rows(schema: Schema, root: Schema, groups: Groups) -> Iterator[Row]:
    required = schema.get("required", ())
    for name, unresolved in sorted(schema.get("properties", {}).items(), key=lambda item: item[1].get("position", 0)):
        field = _resolved(unresolved, root)
        kind = _kind(unresolved, field, root, groups)
        default = "**required**" if name in required and "block_type_slug" not in field else _default(field)
        yield f"`{name}`", kind, default, field.get("description", "")


def _kind(unresolved: Schema, field: Schema, root: Schema, groups: Groups) -> str:
    if slug := field.get("block_type_slug"):
        return f"block `{slug}`"
    if "properties" in field:
        name = _group_name(unresolved.get("$ref", ""))
        partial = "/Partial" in unresolved.get("$ref", "")
        if name not in groups:
            groups[name] = []  # before its own fields are looked at
            whole = _whole(name) if partial else root
            groups[name] = list(_rows(whole if partial else field, whole, groups))
        return f"{'some of ' if partial else ''}[{name}](#{name.lower()})"
    if choices := field.get("enum"):
        if len(choices) > 12:
            return "one of the catalogue"
        return " · ".join(
            f"`{choice}`" if isinstance(choice, str) else str(choice).lower() for choice in _real(choices)
        )
    if field.get("type") == "array":
        items = field.get("items", {})
        return f"list of {_kind(items, _resolved(items, root), root, groups)}"
    if field.get("type") == "object":
        return "map of text"
    kinds = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return kinds[field["type"]] + _bounds(field)


def _real(choices: list[Any]) -> list[Any]:
    return [choice for choice in choices if choice not in (None, "")]


def _bounds(field: Schema) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum")
    above = "above" if "exclusiveMinimum" in field else "from"
    if low is None and high is None:
        return ""
    return ", " + " ".join(
        [*([f"{above} {low}"] if low is not None else []), *([f"to {high}"] if high is not None else [])]
    )


def _default(field: Schema) -> str:
    if "block_type_slug" in field:
        return "`default`"
    value = field.get("default")
    if value in (None, "", {}, []) or "properties" in field:
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _group_name(reference: str) -> str:
    return reference.rpartition("/")[2].removeprefix("Partial")


def _whole(name: str) -> Schema:
    """Schema of the model that a partial one stands for, with its defaults."""
    model: type[BaseModel] = getattr(spec, name)
    schema = model.model_json_schema(ref_template="#/definitions/{model}")
    return schema | {"definitions": schema.get("$defs", {})}


def _table(rows: Iterable[Row]) -> str:
    lines = ["| parameter | type | default | |", "| --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _resolved(schema: Schema, root: Schema) -> Schema:
    reference = schema.get("$ref")
    if not reference:
        return schema
    found: Schema = root["definitions"][reference.removeprefix("#/definitions/")]
    return found | {key: value for key, value in schema.items() if key != "$ref"}


def main() -> int:
    """Writes or checks the page.

    Returns:
        The exit code: 1 if a check found a difference.
    """
    if "--check" not in sys.argv[1:]:
        PATH.write_text(text(), encoding="utf-8")
        return 0
    if PATH.read_text(encoding="utf-8") == text():
        return 0
    print("docs/flows.md is not what the flows say: run python -m deployments.flow_reference", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
