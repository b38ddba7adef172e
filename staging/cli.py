"""The command line of the staging engine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from serving.errors import HubError, InferenceError, InputError, StagingError, StoreError
from staging import commands
from staging.engine import MEMORY_BUDGET
from staging.hub import PUBLIC_HUB
from staging.layout import Layout
from staging.parts import MIB
from staging.selection import DEFAULT_IGNORE
from staging.workers import Runner
from staging.xet import Transport

EXIT_CODES: dict[type[InferenceError], int] = {InputError: 2, HubError: 3, StoreError: 4, StagingError: 5}
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 if `verify` found a difference; 2 for wrong input, 3 for the Hub, 4 for the store, 5 for the transfer, 130
        after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except InferenceError as error:
        commands.report(error, as_json=options.json)
        return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
    except KeyboardInterrupt:
        print("Interrupted. What is stored is kept; run the same command again to continue.", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m staging", description="Models from the Hugging Face Hub into S3.")
    names = parser.add_subparsers(required=True, metavar="COMMAND")

    copy = names.add_parser("copy", help="stage one commit of a model", description=commands.copy.__doc__)
    _model(copy)
    _selection(copy)
    copy.add_argument("--plan", action="store_true", help="only say what would be done")
    copy.add_argument("--memory", type=int, default=MEMORY_BUDGET // MIB, metavar="MIB", help="MiB of file contents")
    copy.add_argument("--transport", type=Transport, choices=list(Transport), default=Transport.AUTO)
    copy.add_argument("--runner", type=Runner, choices=list(Runner), default=Runner.THREADS, help="who moves the parts")
    copy.add_argument("--address", default="", metavar="URL", help="of the runner's cluster (default: this machine)")
    copy.add_argument("--workers", type=int, default=0, metavar="N", help="ranges at a time (default: processors)")
    copy.set_defaults(run=commands.copy)

    plan = names.add_parser("plan", help="say what staging would do", description=commands.plan.__doc__)
    _model(plan)
    _selection(plan)
    plan.set_defaults(run=commands.plan)

    verify = names.add_parser("verify", help="read a staged model back", description=commands.verify.__doc__)
    _model(verify)
    verify.set_defaults(run=commands.verify)

    inventory = names.add_parser("list", help="list staged models", description=commands.inventory.__doc__)
    _store(inventory)
    inventory.set_defaults(run=commands.inventory)

    prune = names.add_parser("prune", help="remove what nobody uses", description=commands.prune.__doc__)
    _store(prune)
    prune.add_argument("--in-use", action="append", default=[], metavar="REPO@COMMIT", help="keep this; repeatable")
    prune.add_argument("--keep-newest", type=int, default=1, metavar="N", help="commits of each model (default: 1)")
    prune.add_argument("--stale-days", type=float, default=7, metavar="N", help="age of uploads (default: 7)")
    prune.add_argument("--yes", action="store_true", help="remove it; without this it is only shown")
    prune.set_defaults(run=commands.prune)
    return parser


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", metavar="REPO", help="Hub repository, organization/name")
    _store(parser)
    parser.add_argument("--revision", default="main", help="branch, tag or commit (default: main)")
    endpoint = os.environ.get("HF_ENDPOINT", PUBLIC_HUB)
    parser.add_argument("--hub", default=endpoint, help="address of the Hub (default: HF_ENDPOINT)")


def _selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allow", action="append", default=[], metavar="PATTERN", help="only files that match")
    without = f"no files that match (default: {' '.join(DEFAULT_IGNORE)})"
    parser.add_argument("--ignore", action="append", metavar="PATTERN", help=without)
    parser.add_argument("--duplicates", action="store_true", help="also other formats of weights that are safetensors")


def _store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="s3://BUCKET/PREFIX", help="bucket and prefix that models are staged into")
    parser.add_argument("--layout", type=Layout, choices=list(Layout), default=Layout.COMMIT)
    parser.add_argument("--endpoint-url", default="", help="of an S3-compatible store (default: Amazon S3)")
    parser.add_argument("--region", default="", help="region of the bucket (default: that of the AWS configuration)")
    parser.add_argument("--profile", help="AWS profile to use")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
