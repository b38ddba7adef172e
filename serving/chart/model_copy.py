"""The chart's S3 Model Copy: what its parameters come to here, where a model is staged."""

from serving.chart.values import Values

SECTION = "s3ModelCopy"

_POOL = "where a copy runs is the work pool's affair (docs/eks.md)"
_MEMORY = "how much is under way at a time follows from --memory"
_NO_DISK = "nothing is written to disk"

# The chart keeps these below `parameters`, some of its versions beside it.
_PARAMETERS = {
    "mode": "files move without a detour over a disk, from the Hub's storage in either of its ways (--transport)",
    "transferClient": "parts are stored over the transfer's own connections",
    "fileWorkers": _MEMORY,
    "uploadWorkers": _MEMORY,
    "downloadWorkers": _MEMORY,
    "downloadChunkSize": _MEMORY,
    "partSize": "the size of parts follows from the file's, so that every file fits the store's limits",
    "progressInterval": "progress is shown all the time",
    "tempDir": _NO_DISK,
    "force": "what is staged is verified before it can be seen, and never written over: its commit is in the path",
}

NEEDLESS = {
    f"{SECTION}.{name}": why
    for name, why in {
        **_PARAMETERS,
        **{f"parameters.{name}": why for name, why in _PARAMETERS.items()},
        "storageSize": _NO_DISK,
        "requireLocalNvme": _NO_DISK,
        "requireNetworkBandwidth": f"{_POOL}; workers can share one model",
        "resources": "a copy holds little memory, whatever the model's size (docs/staging.md)",
        "nodeSelector": _POOL,
        "tolerations": _POOL,
        "affinity": _POOL,
        "terminationGracePeriodSeconds": "a copy that is ended goes on from where it was when it is started again",
        "serviceAccountName": "the identity that may write to the bucket is the work pool's (docs/permissions.md)",
        "namespace": "the namespace of runs is the work pool's",
        "hfTokenSecret": "the Hub token stands in the block hugging-face-hub, or in HF_TOKEN for the command",
    }.items()
}
"""What a copy has and needs no counterpart here, with the reason that is shown."""


def model_copy(values: Values, notes: list[str]) -> dict[str, str]:
    """Takes from the section what becomes something else here.

    Args:
        values: The values; what is understood is taken from them.
        notes: Gets what is another here than in the chart.

    Returns:
        ``model`` and ``target`` (bucket and prefix); empty if the file copies no model.
    """
    model = values.take(f"{SECTION}.model")
    if not model:
        return {}
    return {"model": str(model), "target": _target(values, str(model), notes)}


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
