"""The chart's S3 Model Copy: what its parameters come to here, where a model is staged."""

from typing import Any

from serving.chart.values import Values

SECTION = "s3ModelCopy"

_WHY = {
    "mode": "files move without a detour over a disk, from the Hub's storage in either of its ways (--transport)",
    "transferClient": "parts are stored over the transfer's own connections",
    "fileWorkers": "how much is under way at a time follows from --memory",
    "uploadWorkers": "how much is under way at a time follows from --memory",
    "downloadWorkers": "how much is under way at a time follows from --memory",
    "downloadChunkSize": "how much is under way at a time follows from --memory",
    "partSize": "the size of parts follows from the file's, so that every file fits the store's limits",
    "progressInterval": "progress is shown all the time",
    "tempDir": "nothing is written to disk",
    "force": "what is staged is verified before it can be seen, and never written over: its commit is in the path",
    "storageSize": "nothing is written to disk",
    "requireLocalNvme": "nothing is written to disk",
    "requireNetworkBandwidth": "where a copy runs is the work pool's affair (docs/eks.md); workers can share one model",
    "resources": "a copy holds little memory, whatever the model's size (docs/staging.md)",
    "nodeSelector": "where a copy runs is the work pool's affair (docs/eks.md)",
    "tolerations": "where a copy runs is the work pool's affair (docs/eks.md)",
    "affinity": "where a copy runs is the work pool's affair (docs/eks.md)",
    "terminationGracePeriodSeconds": "a copy that is ended goes on from where it was when it is started again",
    "serviceAccountName": "the identity that may write to the bucket is the work pool's (docs/permissions.md)",
    "namespace": "the namespace of runs is the work pool's",
    "hfTokenSecret": "the Hub token stands in the block hugging-face-hub, or in HF_TOKEN for the command",
}
"""Parameters without a counterpart, and why none is needed."""

_PARAMETERS = (
    "mode",
    "transferClient",
    "fileWorkers",
    "uploadWorkers",
    "downloadWorkers",
    "downloadChunkSize",
    "partSize",
    "progressInterval",
    "tempDir",
    "force",
)
"""Those that the chart keeps below ``s3ModelCopy.parameters``, and some of its versions beside it."""


def model_copy(values: Values, notes: list[str]) -> dict[str, str]:
    """Takes the section, and says what becomes of it.

    Args:
        values: The values; what is understood is taken from them.
        notes: Gets what needs no counterpart, and why.

    Returns:
        ``model`` and ``target`` (bucket and prefix); empty if the file copies no model.
    """
    model = values.take(f"{SECTION}.model")
    if not model:
        return {}
    found = {"model": str(model), "target": _target(values, str(model), notes)}
    for name, why in _WHY.items():
        for path in (f"{SECTION}.{name}", f"{SECTION}.parameters.{name}"):
            if (name in _PARAMETERS) or ".parameters." not in path:
                _say(values, path, why, notes)
    return found


def _target(values: Values, model: str, notes: list[str]) -> str:
    """Bucket and prefix. The chart puts the model's name behind ``s3Path``, and ``s3Prefix`` in its place."""
    path, bucket = values.take(f"{SECTION}.s3Path"), values.take(f"{SECTION}.s3Bucket")
    prefix = str(values.take(f"{SECTION}.s3Prefix") or "").strip("/")
    if bucket is None:
        return str(path or "BUCKET").removeprefix("s3://").strip("/")
    if not prefix or prefix == model:
        return str(bucket).strip("/")
    if prefix.endswith(f"/{model}"):
        return f"{bucket}/{prefix.removesuffix(model)}".strip("/")
    notes.append(f"{SECTION}.s3Prefix is the beginning of the path here: {model} and the commit follow it.")
    return f"{bucket}/{prefix}"


def _say(values: Values, path: str, why: str, notes: list[str]) -> None:
    value: Any = values.take(path)
    if value is not None:
        notes.append(f"{path} is not needed: {why}.")
