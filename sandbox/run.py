"""`python -m sandbox`: everything on this machine, and one model's way through it by the Prefect API."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from sandbox.prefect_server import DEFAULT_PORT, PrefectServer, run_worker, serve_prefect, wait_until_healthy
from sandbox.registration import Places, register_deployments, save_blocks
from sandbox.report import SandboxReport, show

BUCKET = "models"
NAMESPACE = "inference"


@dataclass(frozen=True)
class RunOptions:
    """What the command line asks for.

    Attributes:
        preset: Catalogue entry to deploy.
        keep: Stay up afterwards.
        as_json: Print the report as one JSON object.
        hub: Address of a real Hub; empty for the sandbox's.
        kubeconfig: Path of a real cluster's kubeconfig; None for the sandbox's.
        store: ``s3://bucket/prefix`` of a real store; empty for the sandbox's.
        vllm: Path of a real vllm executable; None for the stand-in.
        namespace: Namespace to deploy to; it must exist on a real cluster.
        state: Directory for what the sandbox writes; None for a temporary one.
    """

    preset: str
    keep: bool = False
    as_json: bool = False
    hub: str = ""
    kubeconfig: Path | None = None
    store: str = ""
    vllm: Path | None = None
    namespace: str = NAMESPACE
    state: Path | None = None
