"""Manifests checked against their schemas, unknown fields refused: built-in kinds always, custom ones where their
definitions stand beside the project."""

import functools
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / "v1.31.0-local-strict"
BUILT_IN = {
    "v1": "v1",
    "apps/v1": "apps-v1",
    "batch/v1": "batch-v1",
    "policy/v1": "policy-v1",
    "autoscaling/v2": "autoscaling-v2",
}
KEPT = ("type", "enum", "required", "pattern", "maxLength", "minLength", "minimum", "maximum", "minItems", "maxItems")


@functools.cache
def registry() -> Any:
    definitions: Any = Resource.from_contents(json.loads((SCHEMAS / "_definitions.json").read_text()))
    return definitions @ Registry()


@functools.cache
def built_in(api_version: str, kind: str) -> Any:
    schema = json.loads((SCHEMAS / f"{kind.lower()}-{BUILT_IN[api_version]}.json").read_text())
    return jsonschema.Draft202012Validator(schema, registry=registry())


@functools.cache
def definitions() -> dict[tuple[str, str], dict[str, Any]]:
    """Schemas by apiVersion and kind, from the folder that ``CRD_FOLDER`` names, else from ``kubernetes/crds`` in a
    sibling of the project; empty where there is neither."""
    found = {}
    folder = os.environ.get("CRD_FOLDER")
    paths = Path(folder).glob("*.yaml") if folder else ROOT.parent.glob("*/kubernetes/crds/*.yaml")
    for path in sorted(paths):
        crd = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for version in crd["spec"]["versions"]:
            api_version = f"{crd['spec']['group']}/{version['name']}"
            found[api_version, crd["spec"]["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return found


@functools.cache
def custom(api_version: str, kind: str) -> Any:
    schema = strict(definitions()[api_version, kind])
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Turns a structural schema into one of JSON Schema that refuses what it does not name."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    turned = {key: value for key, value in schema.items() if key in KEPT}
    if "properties" in schema:
        turned["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            turned["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        turned["additionalProperties"] = strict(schema["additionalProperties"])
    if isinstance(schema.get("items"), dict):
        turned["items"] = strict(schema["items"])
    return turned


def check(manifest: dict[str, Any]) -> bool:
    """Raises what is wrong with a manifest; returns False if there is no schema to check it with."""
    key = manifest["apiVersion"], manifest["kind"]
    if key[0] in BUILT_IN:
        validator = built_in(*key)
    elif key in definitions():
        validator = custom(*key)
    else:
        return False
    error = jsonschema.exceptions.best_match(validator.iter_errors(manifest))
    if error is not None:
        raise AssertionError(f"{key[1]} {'.'.join(map(str, error.absolute_path))}: {error.message}")
    return True
