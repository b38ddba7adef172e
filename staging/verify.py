"""Reads a staged model back from S3 and compares every byte with its manifest."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from serving.errors import StoreError
from serving.models import StagedFile, StagedModel
from staging.progress import StageProgress, Tally
from staging.retry import Patience, Repeats
from staging.store import StoreAccess, by_code, explained, s3
from staging.wire import CHUNK, Wire, WireFault

READERS = 8
URL_SECONDS = 3600


@dataclass(frozen=True)
class BadFile:
    """A file that is not what the manifest says.

    Attributes:
        path: Below the staged prefix.
        problem: ``missing``, ``size`` or ``sha256``.
        expected: What the manifest says.
        actual: What is there; empty if nothing is.
    """

    path: str
    problem: str
    expected: str
    actual: str = ""


@dataclass(frozen=True)
class VerifyReport:
    """What reading back found.

    Attributes:
        staged: What was read.
        read_bytes: How much was read.
        bad: Files that differ, in the manifest's order.
    """

    staged: StagedModel
    read_bytes: int
    bad: tuple[BadFile, ...]

    @property
    def ok(self) -> bool:
        """Whether every byte is as the manifest says."""
        return not self.bad


def verify(
    staged: StagedModel,
    store: StoreAccess,
    *,
    progress: Callable[[StageProgress], None] | None = None,
    patience: Patience | None = None,
) -> VerifyReport:
    """Read every object of a staged model and compare its size and SHA-256 with the manifest.

    Args:
        staged: From `staging.manifest.find_staged`.
        store: Where it stands.
        progress: Called a few times a second, from the calling thread.
        patience: How long faults are put up with.

    Raises:
        StoreError: The bucket cannot be read.
    """
    tally, stop = Tally(staged.total_bytes, len(staged.files)), threading.Event()
    tally.phase = "verify"
    check = partial(_check, staged, store, tally, patience or Patience(), stop)
    with ThreadPoolExecutor(READERS) as pool:
        futures = [pool.submit(check, file) for file in staged.files]
        try:
            while progress and not all(future.done() for future in futures):
                stop.wait(0.2)
                progress(tally.now())
            found = [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise
    return VerifyReport(staged, tally.moved, tuple(bad for bad in found if bad))


def _check(
    staged: StagedModel, store: StoreAccess, tally: Tally, patience: Patience, stop: threading.Event, file: StagedFile
) -> BadFile | None:
    wire, repeats = Wire(patience.stall_seconds), Repeats(patience, stop)
    buffer = memoryview(bytearray(min(CHUNK, file.size)))
    digest, done, body = hashlib.sha256(), 0, None
    try:
        if file.size == 0:
            return _check_empty(staged, store, file)
        while done < file.size:
            view = buffer[: min(len(buffer), file.size - done)]
            try:
                body = body or wire.get(_sign(staged, store, file), {}, done, file.size, file.size)
                body.read_into(view)
            except WireFault as fault:
                body = None
                if fault.status == 404 and fault.code == "NoSuchKey":
                    return BadFile(file.path, "missing", file.sha256)
                if fault.status == 416 or "other bytes" in fault.detail:
                    return BadFile(file.path, "size", str(file.size))
                _wait(repeats, fault, store)
                continue
            repeats.progress()
            digest.update(view)
            done += len(view)
            tally.add(moved=len(view))
    finally:
        wire.close()
    tally.add(files=1)
    if digest.hexdigest() != file.sha256:
        return BadFile(file.path, "sha256", file.sha256, digest.hexdigest())
    return None


def _check_empty(staged: StagedModel, store: StoreAccess, file: StagedFile) -> BadFile | None:
    with explained(store, "s3:ListBucket"):
        listed = s3(store).list_objects_v2(Bucket=store.bucket, Prefix=staged.prefix + file.path, MaxKeys=1)
    found = [item["Size"] for item in listed.get("Contents", []) if item["Key"] == staged.prefix + file.path]
    if not found:
        return BadFile(file.path, "missing", file.sha256)
    return BadFile(file.path, "size", "0", str(found[0])) if found[0] else None


def _sign(staged: StagedModel, store: StoreAccess, file: StagedFile) -> str:
    with explained(store, "s3:GetObject"):
        return s3(store).generate_presigned_url(
            "get_object",
            Params={"Bucket": store.bucket, "Key": staged.prefix + file.path},
            ExpiresIn=URL_SECONDS,
        )


def _wait(repeats: Repeats, fault: WireFault, store: StoreAccess) -> None:
    try:
        repeats.wait(fault)
    except WireFault as last:
        error: StoreError = by_code(last.code or str(last.status or ""), store, "s3:GetObject", last.detail)
        raise error from None
