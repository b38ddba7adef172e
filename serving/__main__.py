"""``python -m serving``: the catalogue and the renderers, without a cluster."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from serving.catalog import Overrides, get_preset, load_presets, resolve
from serving.chart import read_values, require_mapping
from serving.diagnosis import diagnose, to_json, to_text
from serving.errors import InferenceError, InputError
from serving.event_reference import reference
from serving.events import EVENTS
from serving.explain import input_error, problems
from serving.frameworks.images import split_reference
from serving.models import COMMIT, PinnedModel, RepoId, StagedFile, StagedModel
from serving.release import release_of
from serving.rendering import render, render_aliases, render_endpoint
from serving.snapshot import Snapshot
from serving.spec import EndpointSpec, VllmOptions, WeightsSource
from serving.table import to_markdown

_NO_COMMIT = "0" * 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, or 2 for what the user asked wrongly."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InferenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Presets and manifests, without a cluster.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    catalog = commands.add_parser("catalog", help="list the presets")
    catalog.add_argument("--json", action="store_true", help="print as JSON")
    catalog.set_defaults(run=_catalog)
    shown = commands.add_parser("render", help="print a preset's manifests as YAML")
    shown.add_argument("preset")
    shown.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="override, for example replicas=2, engine.max_model_len=4096 or env.NAME=value",
    )
    shown.add_argument("--staged", metavar="s3://…", help="prefix of the staged model")
    shown.add_argument("--total-bytes", type=int, default=10**9, help="the staged model's size, for a preview")
    shown.add_argument(
        "--manifest", type=Path, help="the staged model's manifest (.staged-model.json), for the exact checksums"
    )
    shown.add_argument("--commit", default=_NO_COMMIT, help="commit of the model, for weights=hub")
    shown.set_defaults(run=_render)
    tabled = commands.add_parser("frameworks", help="which framework runs on what, with weights from where")
    tabled.set_defaults(run=_frameworks)
    judged = commands.add_parser("diagnose", help="say what is wrong with a workload, from a saved snapshot")
    judged.add_argument("snapshot", type=Path, help="snapshot file, or a recorded scene (its last snapshot is judged)")
    judged.add_argument("--json", action="store_true", help="print as JSON")
    judged.set_defaults(run=_diagnose)
    imported = commands.add_parser("import-values", help="turn a chart's values file into a preset")
    imported.add_argument("values", type=Path, help="values file of the inference chart")
    imported.add_argument("--name", default="", help="name of the preset; by default the file's")
    imported.add_argument("--strict", action="store_true", help="fail if a parameter is not understood")
    imported.set_defaults(run=_import_values)
    told = commands.add_parser("events", help="what the flows tell Prefect's event system, with all fields")
    told.add_argument("--json", action="store_true", help="print the payloads' JSON schemas")
    told.set_defaults(run=_events)
    return parser


def _events(options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({name: event.model_json_schema() for name, event in EVENTS.items()}, indent=1))
    else:
        print(reference(), end="")


def _frameworks(options: argparse.Namespace) -> None:  # noqa: ARG001 - every command is called alike
    print(to_markdown(), end="")


def _catalog(options: argparse.Namespace) -> None:
    presets = load_presets()
    if options.json:
        print(json.dumps([preset.model_dump(mode="json") for preset in presets.values()], indent=1))
        return
    table = Table(title=f"{len(presets)} presets")
    for column in ("preset", "model", "framework", "accelerator", "devices", "instance type", "image", "endpoint"):
        table.add_column(column, overflow="fold", no_wrap=column == "preset")
    for preset in presets.values():
        repository, tag = split_reference(preset.image)
        table.add_row(
            preset.name,
            preset.model,
            preset.framework,
            preset.accelerator,
            str(preset.resources.accelerators),
            preset.instance_type or "any",
            f"{repository.rsplit('/', 1)[-1]}:{tag}",
            preset.endpoint,
        )
    width = None if sys.stdout.isatty() else 220
    Console(width=width).print(table)


def _render(options: argparse.Namespace) -> None:
    spec = resolve(get_preset(options.preset), Overrides.read(read_settings(options.settings)))
    staged = _staged(options, spec)
    if staged is not None:
        model = staged.model
    elif COMMIT.match(options.commit):
        model = PinnedModel(repo_id=spec.model.repo_id, revision=spec.model.revision, commit=options.commit)
    else:
        raise InputError(f"--commit is {options.commit!r}, should be 40 hexadecimal digits.")
    release = release_of(spec, model, staged)
    manifests = [*render(spec, staged, release), render_endpoint(spec, release), *render_aliases(spec, release)]
    if staged is not None and options.manifest is None and spec.weights is WeightsSource.SYNC:
        print("# Preview: checksums and file names are placeholders; give --manifest for the real ones.")
    sys.stdout.write(to_yaml(manifests))


def _staged(options: argparse.Namespace, spec: EndpointSpec) -> StagedModel | None:
    if spec.weights is WeightsSource.HUB:
        return None
    if options.manifest is not None:
        return _from_manifest(options)
    uri = options.staged or f"s3://BUCKET/{spec.model.repo_id}/{options.commit}/"
    uri = uri if uri.endswith("/") else f"{uri}/"
    last = uri.rstrip("/").rsplit("/", 1)[-1]
    commit = last if COMMIT.match(last) else options.commit
    try:
        return StagedModel(
            model=PinnedModel(repo_id=spec.model.repo_id, revision=spec.model.revision, commit=commit),
            uri=uri,
            files=(StagedFile(path="model.safetensors", size=options.total_bytes, sha256="0" * 64),),
        )
    except ValidationError as error:
        raise input_error("--staged", problems(error, StagedModel)) from error


class _Manifest(BaseModel):
    """What of a staged model's manifest object (.staged-model.json) a renderer needs."""

    repo_id: RepoId
    revision: str
    commit: str
    files: tuple[StagedFile, ...]


def _from_manifest(options: argparse.Namespace) -> StagedModel:
    try:
        manifest = _Manifest.model_validate_json(options.manifest.read_bytes())
        uri = options.staged or f"s3://BUCKET/{manifest.repo_id}/{manifest.commit}/"
        return StagedModel(
            model=PinnedModel(repo_id=manifest.repo_id, revision=manifest.revision, commit=manifest.commit),
            uri=uri if uri.endswith("/") else f"{uri}/",
            files=manifest.files,
        )
    except OSError as error:
        raise InputError(f"{options.manifest} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise input_error(f"{options.manifest}", problems(error, _Manifest)) from error


def _diagnose(options: argparse.Namespace) -> None:
    try:
        document = json.loads(options.snapshot.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{options.snapshot} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"{options.snapshot} is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InputError(f"{options.snapshot} should hold a JSON object: a snapshot, or a scene with its timeline.")
    timeline = document.get("timeline")
    entry = timeline[-1] if isinstance(timeline, list) and timeline else document
    found = diagnose(Snapshot.read(entry, document.get("nodes")))
    if options.json:
        print(json.dumps(to_json(found), indent=1))
    else:
        sys.stdout.write(to_text(found))


def _import_values(options: argparse.Namespace) -> None:
    try:
        document = yaml.safe_load(options.values.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{options.values} cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{options.values} is not YAML: {' '.join(str(error).split())}.") from error
    name = options.name or options.values.stem.removeprefix("values-")
    result = read_values(require_mapping(document, str(options.values)), name)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    for parameter in result.not_understood:
        print(f"not understood: {parameter}", file=sys.stderr)
    if result.copy:
        print(f"# S3 Model Copy: python -m staging copy {result.copy['model']} s3://{result.copy['target']}/")
    if result.preset is not None:
        preset = result.preset.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
        print(f"# catalog/presets/{result.preset.name}.yaml")
        sys.stdout.write(yaml.dump(preset, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True))
    if result.not_understood and options.strict:
        raise InputError(f"{len(result.not_understood)} parameters of {options.values} are not understood.")


def read_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Reads ``key=value`` settings into overrides: dots go into parts, a bare engine parameter goes to ``engine``.

    Values are read as YAML (numbers, true, lists), those of ``env`` as text.

    Raises:
        InputError: A setting has no ``=``, or goes into something that is not a part.
    """
    document: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise InputError(f"--set {setting!r} should be KEY=VALUE.")
        path = key.split(".", 1) if key.startswith("env.") else key.split(".")
        if len(path) == 1 and path[0] not in Overrides.model_fields and path[0] in VllmOptions.model_fields:
            path = ["engine", path[0]]
        part = document
        for name in path[:-1]:
            part = part.setdefault(name, {})
            if not isinstance(part, dict):
                raise InputError(f"--set {setting!r}: {name} is already set to a value.")
        part[path[-1]] = text if path[0] == "env" else _value(text)
    return document


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        return text


def to_yaml(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Returns manifests as one YAML stream, long text in block style."""
    return yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)

if __name__ == "__main__":
    sys.exit(main())
