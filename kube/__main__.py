"""``python -m kube diagnose``: what is wrong with a running endpoint, without a run. It reads and changes nothing."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kube.connect import Cluster, from_kubeconfig
from kube.snapshot import collect
from serving.diagnosis import diagnose, to_json, to_text
from serving.errors import ClusterError, InferenceError, InputError
from serving.record import ENDPOINT_LABEL
from serving.snapshot import Snapshot

COMPONENT_LABEL = "app.kubernetes.io/component"
LABELS = (ENDPOINT_LABEL, COMPONENT_LABEL)
"""What finds an endpoint: ours, else one that the inference chart made."""

_ALWAYS = {"events", "nodes", "resourcequotas"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        0 if nothing is wrong or it may still heal, 1 if it cannot heal by itself, 2 if it could not be found out.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except InferenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kube", description="Look at endpoints in a cluster.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    found = commands.add_parser("diagnose", help="say what is wrong with an endpoint, ours or the inference chart's")
    found.add_argument("endpoint", metavar="NAMESPACE/ENDPOINT", help="without a namespace: the context's")
    found.add_argument("--json", action="store_true", help="print as JSON")
    found.add_argument(
        "--save", type=Path, metavar="FILE", help="write what was judged; python -m serving diagnose FILE"
    )
    found.add_argument("--kubeconfig", type=Path, help="by default KUBECONFIG, or else ~/.kube/config")
    found.add_argument("--context", default="", help="context of the kubeconfig; by default the current one")
    found.set_defaults(run=_diagnose)
    return parser


def _diagnose(options: argparse.Namespace) -> int:
    namespace, slash, endpoint = options.endpoint.rpartition("/")
    if not endpoint or (slash and not namespace):
        raise InputError(f"{options.endpoint!r} should be NAMESPACE/ENDPOINT.")
    with from_kubeconfig(options.kubeconfig, options.context) as cluster:
        document = snapshot_of(cluster, namespace or cluster.namespace, endpoint)
    if options.save is not None:
        _save(options.save, document)
    diagnosis = diagnose(Snapshot.read(document))
    if options.json:
        print(json.dumps(to_json(diagnosis), indent=1))
    else:
        sys.stdout.write(to_text(diagnosis))
    for what, why in (document.get("unreadable") or {}).items():
        print(f"note: {what} could not be read and were not judged: {why}", file=sys.stderr)
    return 1 if diagnosis is not None and diagnosis.final else 0


def snapshot_of(cluster: Cluster, namespace: str, endpoint: str) -> dict[str, Any]:
    """Reads an endpoint and all that belongs to it.

    Raises:
        ClusterError: ``endpoint.unknown`` if nothing carries its name; the API cannot be reached or refuses.
    """
    for label in LABELS:
        document = collect(cluster, namespace, f"{label}={endpoint}", label=f"{namespace}/{endpoint}")
        if any(value for key, value in document.items() if isinstance(value, list) and key not in _ALWAYS):
            return document
    raise ClusterError(
        f"There is no endpoint {endpoint} in namespace {namespace}.",
        cause=f"Nothing there has the label {' or '.join(f'{label}={endpoint}' for label in LABELS)}.",
        fix=f"Check name and namespace: kubectl get pods -A -L {','.join(LABELS)}.",
        code="endpoint.unknown",
    )


def _save(path: Path, document: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error
    print(f"Saved to {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
