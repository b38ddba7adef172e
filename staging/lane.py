"""A lane: one thread with a fixed buffer and its own connections that moves parts and small files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from serving.errors import HubError, StagingError, StoreError
from staging import uploads
from staging.hashing import FileDigest, Mismatch
from staging.hub import HubAccess, HubFile, by_status
from staging.job import FileJob, Part
from staging.plan import PlannedFile
from staging.progress import Tally
from staging.retry import Cancelled, Patience, Repeats
from staging.source import SourceFile
from staging.store import StoreAccess, by_code
from staging.wire import CHUNK, Body, Wire, WireFault

RESIGNED = frozenset({"ExpiredToken", "RequestExpired", "AccessDenied", "InvalidToken", "403"})
"""Answers that a signed address gets when it or the credentials behind it have expired."""


@dataclass(frozen=True)
class Run:
    """What all lanes of a run share."""

    hub: HubAccess
    repo_id: str
    store: StoreAccess
    patience: Patience
    stop: threading.Event
    tally: Tally


class Lane:
    """One thread's means of transfer.

    Args:
        run: What it shares with the others.
        buffer: Its own memory, as large as the largest part.
    """

    def __init__(self, run: Run, buffer: memoryview) -> None:
        self._run, self._buffer = run, buffer
        self._wire = Wire(run.patience.stall_seconds)

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def view(self, part: Part) -> memoryview:
        """The part's bytes in the buffer."""
        return self._buffer[: part.size]

    def move_part(self, job: FileJob, part: Part) -> str:
        """Move one part: read, hashed if it is its turn, and sent on chunk by chunk; returns its ETag.

        The buffer keeps the whole part until S3 has it, so that what was hashed is what is sent, and sent again
        after a fault.

        Raises:
            UploadGone: The upload does not exist any more.
            InferenceError: A fault that outlasted the patience.
            Cancelled: The run ended.
        """
        view = self._buffer[: part.size]
        arriving = _Arriving(self._run, self._wire, job, part, view)
        repeats = Repeats(self._run.patience, self._run.stop)
        resigned = 0
        while True:
            url = uploads.sign_part(job.planned.key, job.upload_id, part.number, self._run.store)
            try:
                return self._put(url, {}, part.size, arriving.chunks())
            except WireFault as fault:
                self._run.tally.add(retries=1)
                if fault.code == "NoSuchUpload":
                    raise uploads.UploadGone from None
                if fault.code in RESIGNED and resigned < 2:
                    resigned += 1
                    continue
                self._wait(repeats, fault)
            finally:
                arriving.close()

    def move_small(self, planned: PlannedFile, source: SourceFile) -> str:
        """Move a file that fits the buffer: verified before its one PUT makes it visible; returns its SHA-256.

        Raises:
            StagingError: ``staging.corrupt``.
            InferenceError: A fault that outlasted the patience.
            Cancelled: The run ended.
        """
        view = self._buffer[: planned.file.size]
        for attempt in (1, 2):
            self._read_all(source, view)
            digest = FileDigest(planned.file)
            digest.update(view)
            wrong = digest.mismatch()
            if wrong is None:
                break
            if attempt == 2:
                raise corrupt(planned.file, self._run.repo_id, wrong)
        sha256 = digest.sha256()
        repeats = Repeats(self._run.patience, self._run.stop)
        resigned = 0
        while True:
            url, headers = uploads.sign_put(planned.key, planned.file, sha256, self._run.store)
            try:
                self._put(url, headers, len(view), iter((view,)) if len(view) else iter(()))
            except WireFault as fault:
                self._run.tally.add(retries=1)
                if fault.code in RESIGNED and resigned < 2:
                    resigned += 1
                    continue
                self._wait(repeats, fault)
            else:
                return sha256

    def _put(self, url: str, headers: dict[str, str], length: int, chunks: Iterator[memoryview]) -> str:
        upload = self._wire.put(url, headers, length)
        try:
            for chunk in chunks:
                upload.send(chunk)
        except WireFault:
            raise
        except BaseException:
            upload.abandon()
            raise
        return upload.finish().get("etag", "")

    def _read_all(self, source: SourceFile, view: memoryview) -> None:
        repeats = Repeats(self._run.patience, self._run.stop)
        while len(view):
            try:
                source.open(self._wire, 0, len(view)).read_into(view)
            except WireFault as fault:
                self._run.tally.add(retries=1)
                wait_for_hub(repeats, fault, self._run, source.file)
            else:
                return

    def _wait(self, repeats: Repeats, fault: WireFault) -> None:
        try:
            repeats.wait(fault)
        except WireFault as last:
            raise store_gave_up(self._run.store, last) from None


class _Arriving:
    """The bytes of a part as they come in: kept, hashed in their turn, and handed on from the start if need be."""

    def __init__(self, run: Run, wire: Wire, job: FileJob, part: Part, view: memoryview) -> None:
        self._run, self._wire, self._job, self._part, self._view = run, wire, job, part, view
        self._body: Body | None = None
        self._repeats = Repeats(run.patience, run.stop)

    def chunks(self) -> Iterator[memoryview]:
        """The part from its beginning: first what is here already, then what arrives."""
        done = 0
        while done < self._part.size:
            if self._run.stop.is_set():
                raise Cancelled
            if done == self._part.got:
                self._receive()
            yield self._view[done : self._part.got]
            done = self._part.got

    def close(self) -> None:
        """Let go of the connection if its answer was not read to the end."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _receive(self) -> None:
        part = self._part
        chunk = self._view[part.got : min(part.got + CHUNK, part.size)]
        while True:
            try:
                if self._body is None:
                    self._body = self._job.source.open(self._wire, part.start + part.got, part.start + part.size)
                self._body.read_into(chunk)
                break
            except WireFault as fault:
                self._body = None
                self._run.tally.add(retries=1)
                wait_for_hub(self._repeats, fault, self._run, self._job.planned.file)
        self._repeats.progress()
        part.got += len(chunk)
        self._job.arrived(len(chunk))
        self._run.tally.add(moved=len(chunk))
        self._job.absorb(part, self._view)


def wait_for_hub(repeats: Repeats, fault: WireFault, run: Run, file: HubFile) -> None:
    """As `Repeats.wait`, with the Hub's error at the end."""
    try:
        repeats.wait(fault)
    except WireFault as last:
        raise hub_gave_up(run, last, file) from None


def hub_gave_up(run: Run, fault: WireFault, file: HubFile) -> HubError:
    """The error for a Hub that does not give the bytes of a file in the end."""
    if fault.status == 429:
        return by_status(429, run.hub, run.repo_id)
    return HubError(
        f"The Hub stopped giving {file.path} of {run.repo_id}: {fault.detail}.",
        cause=f"Repeating it for {run.patience.seconds:g} s did not help.",
        fix="Start the run again when the Hub answers: it continues where this one stopped.",
        code="hub.unreachable",
    )


def store_gave_up(store: StoreAccess, fault: WireFault) -> StoreError:
    """The error for a bucket that does not take a part in the end."""
    return by_code(fault.code or (str(fault.status) if fault.status else ""), store, "s3:PutObject", fault.detail)


def corrupt(file: HubFile, repo_id: str, wrong: Mismatch) -> StagingError:
    """The error for a file whose bytes are twice not those that the Hub lists."""
    return StagingError(
        f"{file.path} of {repo_id} arrived with {wrong.kind} {wrong.actual} instead of {wrong.expected}, twice.",
        cause="The Hub's file host or a proxy in between changes bytes. The file was not published.",
        fix="Try again without the proxy; if it stays so, tell the repository's owner.",
        code="staging.corrupt",
    )
