"""The command line of the staging engine."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from serving.errors import HubError, InferenceError, InputError, StagingError, StoreError
from serving.models import ModelSource
from staging.engine import MEMORY_BUDGET, StageResult, stage
from staging.hub import PUBLIC_HUB, HubAccess, pin
from staging.layout import Layout
from staging.parts import MIB
from staging.plan import StagePlan, plan
from staging.selection import DEFAULT_IGNORE
from staging.store import StoreAccess, check_store
from staging.terminal import ProgressLine

EXIT_CODES: dict[type[InferenceError], int] = {InputError: 2, HubError: 3, StoreError: 4, StagingError: 5}
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 2 for wrong input, 3 for the Hub, 4 for the store, 5 for the transfer, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except InferenceError as error:
        _report(error, as_json=options.json)
        return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
    except KeyboardInterrupt:
        print("Interrupted; nothing was published.", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m staging", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    copy = commands.add_parser("copy", help="stage one commit of a model", description=_copy.__doc__)
    copy.add_argument("repo", metavar="REPO", help="Hub repository, organization/name")
    copy.add_argument("target", metavar="s3://BUCKET/PREFIX", help="bucket and prefix that models are staged into")
    copy.add_argument("--revision", default="main", help="branch, tag or commit (default: main)")
    copy.add_argument(
        "--allow", action="append", default=[], metavar="PATTERN", help="only files that match; repeatable"
    )
    copy.add_argument("--ignore", action="append", metavar="PATTERN", help="no files that match; repeatable "
                      f"(default: {' '.join(DEFAULT_IGNORE)})")  # fmt: skip
    copy.add_argument("--duplicates", action="store_true", help="also other formats of weights that are safetensors")
    copy.add_argument("--layout", type=Layout, choices=list(Layout), default=Layout.COMMIT)
    copy.add_argument("--memory", type=int, default=MEMORY_BUDGET // MIB, metavar="MIB", help="MiB of buffers")
    _connections(copy)
    copy.set_defaults(run=_copy)
    return parser


def _connections(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--endpoint-url", default="", help="of an S3-compatible store (default: Amazon S3)")
    parser.add_argument("--region", default="", help="region of the bucket (default: that of the AWS configuration)")
    parser.add_argument("--profile", help="AWS profile to use")
    parser.add_argument(
        "--hub", default=os.environ.get("HF_ENDPOINT", PUBLIC_HUB), help="address of the Hub (default: HF_ENDPOINT)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def _copy(options: argparse.Namespace) -> int:
    """Stage one commit of a model. The Hub token comes from HF_TOKEN or from `hf auth login`."""
    store, hub = _store(options), _hub(options)
    model = pin(_source(options), hub)
    planned = plan(
        model,
        hub,
        store,
        allow=options.allow,
        ignore=DEFAULT_IGNORE if options.ignore is None else options.ignore,
        duplicates=options.duplicates,
    )
    if planned.staged is None:
        check_store(store)
    with ProgressLine(enabled=not options.json and sys.stderr.isatty()) as line:
        result = stage(planned, progress=line.show, memory_budget=options.memory * MIB)
    _tell(planned, result, as_json=options.json)
    return 0


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
    from huggingface_hub import get_token
    from pydantic import SecretStr

    token = get_token()
    return HubAccess(options.hub.rstrip("/"), SecretStr(token) if token else None)


def _store(options: argparse.Namespace) -> StoreAccess:
    import boto3
    from botocore.exceptions import ProfileNotFound

    target = urlsplit(options.target)
    if target.scheme != "s3" or not target.netloc:
        raise InputError(
            f"{options.target!r} is not an S3 location.", fix="Write s3://bucket/prefix.", code="input.target"
        )
    try:
        session = boto3.Session(profile_name=options.profile)
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
        layout=getattr(options, "layout", Layout.COMMIT),
    )


def _tell(planned: StagePlan, result: StageResult, *, as_json: bool) -> None:
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
        f"{result.moved_bytes / 1e6:.1f} MB moved, {result.copied_bytes / 1e6:.1f} MB copied inside S3, "
        f"{result.reused_bytes / 1e6:.1f} MB there before, in {result.seconds:.1f} s{rate}"
    )


def _report(error: InferenceError, *, as_json: bool) -> None:
    if as_json:
        facts = {"code": error.code, "what": error.what, "cause": error.cause, "fix": error.fix}
        print(json.dumps({"error": facts}))
    else:
        print(f"Error: {error}", file=sys.stderr)
