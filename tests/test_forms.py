"""Every flow's parameters make a good form in Prefect's UI, which draws it from their JSON schema."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from prefect.utilities.importtools import import_object
from prefect.utilities.schema_tools import validate

from blocks.cluster import InferenceCluster
from blocks.hub import HuggingFaceHub
from blocks.store import ModelStore
from deployments.register import read
from flows.deploy_model import subflow_of
from serving.catalog import Overrides, get_preset, load_presets, preset_names, resolve
from serving.options import Autoscaling, RayOptions, VllmOptions
from serving.spec import Framework

FLOWS = sorted({entry["entrypoint"] for entry in read()})
BLOCKS = {
    "cluster": InferenceCluster(in_cluster=True),
    "hub": HuggingFaceHub(),
    "store": ModelStore(bucket="models"),
}
GIVEN: dict[str, Any] = {
    "preset": "qwen3-1.7b-vllm",
    "endpoint": "chat",
    "model": {"repo_id": "Qwen/Qwen3-1.7B", "revision": "main"},
}
"""What a person must fill in."""

SECRET = re.compile(r"(^|_)(token|password|secrets?|credentials?|api_key|access_key|private_key)(_|$)")


@dataclass(frozen=True)
class Field:
    """One field of a form.

    Attributes:
        path: Names from the flow's parameter down to it.
        schema: Its JSON schema, its reference resolved as the UI does.
    """

    path: tuple[str, ...]
    schema: dict[str, Any]

    @property
    def is_block(self) -> bool:
        return "block_type_slug" in self.schema


@cache
def schema_of(entrypoint: str) -> dict[str, Any]:
    return import_object(entrypoint).parameters.model_dump(mode="json")


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if not reference:
        return schema
    return root["definitions"][reference.removeprefix("#/definitions/")] | {
        key: value for key, value in schema.items() if key != "$ref"
    }


def fields(schema: dict[str, Any], root: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[Field]:
    """All fields below a schema, but not those inside a block: these are chosen, not filled in."""
    for name, unresolved in schema.get("properties", {}).items():
        field = Field((*path, name), resolved(unresolved, root))
        yield field
        if not field.is_block:
            yield from fields(field.schema, root, field.path)
            yield from fields(resolved(field.schema.get("items", {}), root), root, (*field.path, "[]"))


ALL = [(entry, field) for entry in FLOWS for field in fields(schema_of(entry), schema_of(entry))]


def named(case: tuple[str, Field]) -> str:
    return f"{case[0].rpartition('.')[2]}.{'.'.join(case[1].path)}"


def wrong(*findings: tuple[bool, str]) -> list[str]:
    return [text for found, text in findings if found]


def test_every_flow_is_looked_at() -> None:
    assert len(FLOWS) >= 14
    assert len(ALL) > 300


def test_each_framework_has_its_flow() -> None:
    assert {one.value: subflow_of(one).name for one in Framework} == {
        one.value: f"deploy-{one.value}" for one in Framework
    }


def test_every_field_has_a_heading_a_description_and_one_kind_of_input() -> None:
    found = {
        named(case): problems
        for case in ALL
        if (
            problems := wrong(
                (not case[1].schema.get("title"), "no title"),
                (case[1].schema.get("title", "_")[0].islower() and case[1].schema["title"] not in OWN_NAMES, "title"),
                ("_" in case[1].schema.get("title", ""), "the title is a variable's name"),
                (not case[1].schema.get("description"), "no description"),
                ("anyOf" in case[1].schema or "oneOf" in case[1].schema, "several kinds of input"),
                (not ({"type", "enum"} & case[1].schema.keys()), "no kind of input"),
            )
        )
    }
    assert found == {}


OWN_NAMES = {"vLLM", "llama.cpp"}
"""Proper names that begin with a small letter."""


@pytest.mark.parametrize("entrypoint", FLOWS)
def test_fields_stand_in_the_order_of_the_code(entrypoint: str) -> None:
    schema = schema_of(entrypoint)
    # PostgreSQL keeps no order of keys: each level says its own.
    levels: dict[tuple[str, ...], list[int | None]] = {}
    for field in fields(schema, schema):
        levels.setdefault(field.path[:-1], []).append(field.schema.get("position"))
    assert all(positions == list(range(len(positions))) for positions in levels.values()), levels
    signature = inspect.signature(import_object(entrypoint).fn)
    assert [field.path[0] for field in fields(schema, schema) if len(field.path) == 1] == list(signature.parameters)


def test_no_field_asks_for_a_secret() -> None:
    """Secrets are in blocks; a parameter may name a Kubernetes Secret, and says so."""
    asking = [case for case in ALL if SECRET.search(case[1].path[-1]) or case[1].schema.get("format") == "password"]
    assert {case[1].path[-1] for case in asking} >= {"token_secret", "image_pull_secrets"}
    for case in asking:
        assert re.search(r"secrets?(_key)?$", case[1].path[-1]), named(case)
        assert re.search(r"\bSecrets?\b|pull secret", case[1].schema["description"]), named(case)
        assert "writeOnly" not in case[1].schema, named(case)


def test_every_default_is_valid() -> None:
    for case in ALL:
        schema = {key: value for key, value in case[1].schema.items() if key != "default"}
        if "default" in case[1].schema:
            root = schema_of(case[0]) | {"properties": {}, "required": []}
            problems = list(Draft202012Validator(root | schema).iter_errors(case[1].schema["default"]))
            assert problems == [], named(case)


def untouched(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """What the UI sends for the fields that nobody filled in: each one's default, groups as far as they have any."""
    values: dict[str, Any] = {}
    for name, unresolved in schema.get("properties", {}).items():
        field = resolved(unresolved, root)
        if "block_type_slug" in field:
            continue
        if "properties" in field:
            values[name] = field.get("default", {}) | untouched(field, root)
        elif field.get("type") == "boolean":
            values[name] = field.get("default", False)
        elif "default" in field:
            values[name] = field["default"]
    return values


@pytest.mark.parametrize("entrypoint", FLOWS)
def test_a_form_that_nobody_touched_means_the_defaults(entrypoint: str) -> None:
    flow, schema = import_object(entrypoint), schema_of(entrypoint)
    required = {name: value for name, value in (GIVEN | BLOCKS).items() if name in schema["properties"]}
    sent = untouched(schema, schema) | {name: value for name, value in required.items() if name not in BLOCKS}
    references = {name: {"$ref": {"block_document_slug": "x/default"}} for name in required if name in BLOCKS}
    assert validate(sent | references, schema) == []  # as the server does
    filled = flow.validate_parameters(sent | required)
    plain = flow.validate_parameters({**flow_defaults(flow), **required})
    assert filled == plain


def flow_defaults(flow: Any) -> dict[str, Any]:
    parameters = inspect.signature(flow.fn).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}


def test_presets_are_chosen_from_the_catalogue() -> None:
    preset = schema_of("flows.deploy_model.deploy_model")["properties"]["preset"]
    assert preset["enum"] == preset_names() == sorted(load_presets())


# Overrides: some fields of a group, and nothing that the preset did not say


def test_overriding_one_field_of_a_group_keeps_the_others() -> None:
    preset = get_preset("llama-32-1b-ray-vllm-autoscaling")
    assert preset.ray is not None
    assert preset.ray.max_workers > 1
    spec = resolve(preset, Overrides(ray={"min_workers": preset.ray.max_workers}))
    assert spec.ray == preset.ray.model_copy(update={"min_workers": preset.ray.max_workers})


def test_a_group_without_values_overrides_nothing() -> None:
    preset = get_preset("qwen3-1.7b-vllm")
    empty = {"engine": {}, "ray": None, "pod": {"node_selector": None}, "resources": {}, "autoscaling": {}}
    assert resolve(preset, Overrides.read(empty)) == resolve(preset)


def test_a_group_given_as_a_model_stands_for_what_was_given() -> None:
    given = Overrides(engine=VllmOptions(dtype="float16"), ray=RayOptions(max_workers=3))  # type: ignore[arg-type]
    assert given.engine == {"dtype": "float16"}
    assert given.ray == {"max_workers": 3}
    assert Overrides.model_validate_json(given.model_dump_json()) == given


def test_autoscaling_is_complete_with_its_defaults() -> None:
    spec = resolve(get_preset("qwen3-1.7b-vllm"), Overrides(autoscaling={"max_replicas": 4}))
    assert spec.autoscaling == Autoscaling(max_replicas=4)
