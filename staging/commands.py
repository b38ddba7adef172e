"""What the commands of ``python -m staging`` do and print."""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving.errors import InferenceError, InputError, StagingError, StoreError
from serving.models import ModelSource
from staging import inventory as contents
from staging.engine import StageResult
from staging.hub import HubAccess, pin
from staging.journal import JournalEntry
from staging.layout import Layout
from staging.manifest import find_staged
from staging.parts import MIB
from staging.plan import Source, StagePlan
from staging.plan import plan as make_plan
from staging.selection import DEFAULT_IGNORE
from staging.store import StoreAccess, check_store
from staging.terminal import ProgressLine
from staging.transfer import Transfer, carry_out
from staging.verify import verify as read_back
from staging.workers import check_runner

WHENCE = {Source.HUB: "from the Hub", Source.COPY: "copied inside S3", Source.PRESENT: "there already"}


def copy(options: argparse.Namespace) -> int:
    """Stage one commit of a model. The Hub token comes from HF_TOKEN or from `hf auth login`."""
    if options.plan:
        return plan(options)
    check_runner(options.runner, options.address)
    store, hub = _store(options), _hub(options)
    planned = _planned(options, hub, store)
    if planned.staged is None:
        check_store(store)
    how = Transfer(options.runner, options.address, options.workers, options.memory * MIB, options.transport)
    with ProgressLine(enabled=not options.json and sys.stderr.isatty()) as line:
        result = carry_out(planned, how, progress=line.show)
    _say_staged(planned, result, as_json=options.json)
    return 0


def plan(options: argparse.Namespace) -> int:
    """Say which files staging would move, which it would copy inside S3 and which are there. Writes nothing."""
    store = _store(options)
    planned = _planned(options, _hub(options), store)
    facts = {
        "repo_id": planned.model.repo_id,
        "revision": planned.model.revision,
        "commit": planned.model.commit,
        "uri": planned.uri,
        "staged": planned.staged is not None,
        "total_bytes": planned.total_bytes,
        "move_bytes": planned.bytes_from(Source.HUB),
        "copy_bytes": planned.bytes_from(Source.COPY),
        "present_bytes": planned.bytes_from(Source.PRESENT),
        "files": [
            {"path": item.file.path, "size": item.file.size, "source": item.source.value} for item in planned.files
        ],
        "skipped": [{"path": item.path, "size": item.size, "reason": item.reason} for item in planned.skipped],
    }
    if options.json:
        print(json.dumps(facts))
        return 0
    print(f"{planned.model.repo_id}@{planned.model.commit} → {planned.uri}")
    if planned.staged is not None:
        print(f"staged already: {len(planned.staged.files)} files, {_size(planned.total_bytes)}; nothing to do")
    for item in planned.files:
        print(f"{_size(item.file.size):>10}  {WHENCE[item.source]:<16}  {item.file.path}")
    for skipped in planned.skipped:
        print(f"{_size(skipped.size):>10}  {'left out':<16}  {skipped.path} ({skipped.reason})")
    if planned.files:
        sums = (f"{_size(planned.bytes_from(source))} {words}" for source, words in WHENCE.items())
        print(f"{len(planned.files)} files, {_size(planned.total_bytes)}: {', '.join(sums)}")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Read a staged model back from S3 and compare every byte with its manifest. Exits 1 if anything differs."""
    store = _store(options)
    model = pin(_source(options), _hub(options))
    staged = find_staged(model, store)
    if staged is None:
        raise StagingError(
            f"{model.repo_id}@{model.commit} is not staged in s3://{store.bucket}/{store.prefix}.",
            fix="Stage it with `python -m staging copy`, or name the revision that is staged.",
            code="staging.not_staged",
        )
    with ProgressLine(enabled=not options.json and sys.stderr.isatty()) as line:
        report = read_back(staged, store, progress=line.show)
    bad = [{"path": item.path, "problem": item.problem, "expected": item.expected, "actual": item.actual}
           for item in report.bad]  # fmt: skip
    if options.json:
        print(json.dumps({"uri": staged.uri, "ok": report.ok, "read_bytes": report.read_bytes, "bad": bad}))
    elif report.ok:
        print(f"{staged.uri}: {len(staged.files)} files, {_size(report.read_bytes)}, all as the manifest says")
    else:
        for item in report.bad:
            print(f"{item.problem}: {item.path} (expected {item.expected}, found {item.actual or 'nothing'})")
        print(f"{len(report.bad)} of {len(staged.files)} files differ. Prune this commit and stage it again.")
    return 0 if report.ok else 1


def inventory(options: argparse.Namespace) -> int:
    """List the staged models, and the runs that are under way or were interrupted."""
    found = contents.inventory(_store(options))
    models: list[dict[str, Any]] = [
        {
            "repo_id": commit.manifest.repo_id,
            "commit": commit.manifest.commit,
            "revision": commit.manifest.revision,
            "files": len(commit.manifest.files),
            "total_bytes": commit.manifest.total_bytes,
            "staged_at": commit.manifest.staged_at.isoformat(),
            "uri": f"s3://{urlsplit(options.target).netloc}/{commit.prefix}",
        }
        for commit in found.staged
    ]
    runs = [
        {"journal": key, "state": _state(entry), "uploads": len(entry.uploads)} for key, entry in found.journals.items()
    ]
    if options.json:
        print(json.dumps({"staged": models, "runs": runs}))
        return 0
    for model in models:
        size, when = _size(model["total_bytes"]), model["staged_at"][:16]
        print(
            f"{model['repo_id']}@{model['commit'][:12]}  {size:>10}  {model['files']:>4} files  {when}  {model['uri']}"
        )
    for run in runs:
        print(f"{run['state']}: {run['journal']} ({run['uploads']} unfinished files)")
    if not models and not runs:
        print("nothing is staged here")
    return 0


def prune(options: argparse.Namespace) -> int:
    """Show, and with --yes remove, staged commits that no release uses, old unfinished uploads and dead journals."""
    store = _store(options)
    planned = contents.plan_prune(
        store, options.in_use, keep_newest=options.keep_newest, stale=timedelta(days=options.stale_days)
    )
    if options.yes:
        contents.prune(planned, store)
    if options.json:
        facts = {
            "removed": options.yes,
            "commits": [commit.name for commit in planned.commits],
            "bytes": planned.bytes,
            "uploads": [upload.key for upload in planned.uploads],
            "journals": list(planned.journals),
            "remains": [one.name for one in planned.remains],
        }
        print(json.dumps(facts))
        return 0
    for commit in planned.commits:
        print(f"staged commit      {commit.name}  {_size(commit.manifest.total_bytes)}")
    for upload in planned.uploads:
        print(f"unfinished upload  {upload.key}")
    for key in planned.journals:
        print(f"dead journal       {key}")
    for one in planned.remains:
        print(f"interrupted        {one.name}  {_size(one.bytes)}")
    what = f"{len(planned.commits)} commits ({_size(planned.bytes)}), {len(planned.uploads)} uploads"
    print(f"Removed {what}." if options.yes else f"Would remove {what}. Add --yes to do it.")
    return 0


def report(error: InferenceError, *, as_json: bool) -> None:
    """Print a failure: one paragraph, or one JSON object."""
    if as_json:
        facts = {"code": error.code, "what": error.what, "cause": error.cause, "fix": error.fix}
        print(json.dumps({"error": facts}))
    else:
        print(f"Error: {error}", file=sys.stderr)


def _planned(options: argparse.Namespace, hub: HubAccess, store: StoreAccess) -> StagePlan:
    return make_plan(
        pin(_source(options), hub),
        hub,
        store,
        allow=options.allow,
        ignore=DEFAULT_IGNORE if options.ignore is None else options.ignore,
        duplicates=options.duplicates,
    )


def _source(options: argparse.Namespace) -> ModelSource:
    from pydantic import ValidationError

    try:
        return ModelSource(repo_id=options.repo, revision=options.revision)
    except ValidationError:
        raise InputError(
            f"{options.repo!r} is not the name of a Hub repository.",
            fix="Write it as organization/name, for example Qwen/Qwen3-1.7B.",
            code="input.repo_name",
        ) from None


def _hub(options: argparse.Namespace) -> HubAccess:
    from pydantic import SecretStr

    token = _token()
    return HubAccess(options.hub.rstrip("/"), SecretStr(token) if token else None)


def _token() -> str | None:
    """The Hub token as `hf` finds it; huggingface_hub is asked only if the environment does not have it plainly."""
    named = (os.environ.get("HF_TOKEN", "") or os.environ.get("HUGGING_FACE_HUB_TOKEN", "")).strip()
    if named and not os.environ.get("HF_OIDC_RESOURCE"):
        return named
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    kept = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    if not kept.exists() and not os.environ.get("HF_OIDC_RESOURCE"):
        return None
    from huggingface_hub import get_token

    return get_token()


def _store(options: argparse.Namespace) -> StoreAccess:
    from botocore.exceptions import ProfileNotFound

    from staging.session import CommandSession

    target = urlsplit(options.target)
    if target.scheme != "s3" or not target.netloc:
        raise InputError(
            f"{options.target!r} is not an S3 location.", fix="Write s3://bucket/prefix.", code="input.target"
        )
    try:
        session = CommandSession(options.profile)
    except ProfileNotFound:
        raise StoreError(
            f"There is no AWS profile {options.profile!r}.",
            fix="Name one that `aws configure list-profiles` shows.",
            code="store.no_credentials",
        ) from None
    return StoreAccess(
        bucket=target.netloc,
        prefix=target.path.strip("/"),
        session=session,
        region=options.region,
        endpoint_url=options.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3", ""),
        layout=Layout(options.layout),
    )


def _say_staged(planned: StagePlan, result: StageResult, *, as_json: bool) -> None:
    staged = result.staged
    facts = {
        "repo_id": staged.model.repo_id,
        "revision": staged.model.revision,
        "commit": staged.model.commit,
        "uri": staged.uri,
        "files": len(staged.files),
        "total_bytes": staged.total_bytes,
        "moved_bytes": result.moved_bytes,
        "copied_bytes": result.copied_bytes,
        "reused_bytes": result.reused_bytes,
        "retries": result.retries,
        "seconds": round(result.seconds, 3),
    }
    if as_json:
        print(json.dumps(facts))
        return
    if planned.staged is not None:
        print(f"{staged.model.repo_id}@{staged.model.commit} is staged already at {staged.uri}")
        return
    rate = f", {result.moved_bytes / result.seconds / 1e6:.0f} MB/s" if result.moved_bytes and result.seconds else ""
    print(
        f"Staged {staged.model.repo_id}@{staged.model.commit} at {staged.uri}: {len(staged.files)} files, "
        f"{_size(result.moved_bytes)} moved, {_size(result.copied_bytes)} copied inside S3, "
        f"{_size(result.reused_bytes)} there before, in {result.seconds:.1f} s{rate}"
    )


def _state(entry: JournalEntry) -> str:
    if entry.holder is None or entry.holder.is_dead():
        return "interrupted"
    return f"under way on {entry.holder.host}"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"
