"""What the command line of `python -m sandbox` asks for, looked at before anything starts."""

import os
from dataclasses import dataclass
from pathlib import Path

from serving.catalog import get_preset
from serving.errors import InputError
from serving.spec import Framework

NAMESPACE = "inference"
REAL_ENGINE = frozenset({Framework.VLLM, Framework.AIBRIX, Framework.LWS_VLLM})
"""Frameworks whose pods start the vllm executable."""


@dataclass(frozen=True)
class RunOptions:
    """What the command line asks for.

    Attributes:
        preset: Catalogue entry to deploy.
        hub: Address of a real Hub; empty for the sandbox's. Its token is taken from HF_TOKEN.
        kubeconfig: Path of a real cluster's kubeconfig; None for the sandbox's.
        store: ``s3://bucket/prefix`` of a real store; empty for the sandbox's.
        namespace: Namespace to deploy to; it must exist on a real cluster.
        vllm: Path of a real vllm executable; None for the stand-in.
        state: Directory for what the sandbox writes; None for a temporary one.
    """

    preset: str
    hub: str = ""
    kubeconfig: Path | None = None
    store: str = ""
    namespace: str = NAMESPACE
    vllm: Path | None = None
    state: Path | None = None


def check(options: RunOptions) -> None:
    """Looks at the options while nothing has started.

    Raises:
        InputError: One names what is not there, or they do not fit together.
    """
    preset = get_preset(options.preset)
    if options.hub and not options.hub.startswith(("http://", "https://")):
        raise InputError(f"--hub {options.hub} is no web address.", fix="Write https://huggingface.co, for example.")
    if options.store and not (options.store.startswith("s3://") and bucket_and_prefix(options.store)[0]):
        raise InputError(f"--store {options.store} is no S3 address.", fix="Write s3://bucket/prefix.")
    if options.kubeconfig is not None and not options.kubeconfig.is_file():
        raise InputError(f"--kubeconfig {options.kubeconfig} is no file.", fix="Give the path of a kubeconfig.")
    if options.kubeconfig is not None and not options.store:
        raise InputError(
            "A real cluster cannot read the sandbox's S3, which only this machine reaches.",
            fix="Give --store s3://bucket/prefix too.",
        )
    if options.vllm is not None and preset.framework not in REAL_ENGINE:
        raise InputError(
            f"--vllm is for presets whose pods run vllm itself, {options.preset} is for {preset.framework}.",
            fix=f"Leave it out, or choose a preset for {', '.join(sorted(REAL_ENGINE))}.",
        )
    if options.vllm is not None and not (options.vllm.is_file() and os.access(options.vllm, os.X_OK)):
        raise InputError(
            f"--vllm {options.vllm} is no program.", fix="Give the path of a vllm executable (docs/real-engine.md)."
        )


def bucket_and_prefix(store: str) -> tuple[str, str]:
    """Splits ``s3://bucket/prefix``."""
    bucket, _, prefix = store.removeprefix("s3://").partition("/")
    return bucket, prefix
