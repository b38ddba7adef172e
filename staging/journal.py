"""The journal of a run: one object that says who stages a commit now and how far the large files are.

It is a lease, so that of two runs one works and the other waits or takes over, and all that a later run needs to
continue: no state is kept anywhere else. It names this engine's own uploads; nobody else's are ever touched.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import StagingError
from serving.models import PinnedModel
from staging.holder import Holder, this_process
from staging.layout import journal_key
from staging.signing import sign
from staging.store import MISSING, StoreAccess, error_code, explain, explained, s3
from staging.wire import Wire, WireFault

STALL_SECONDS = 10.0
"""A write that moves no byte for so long is made once more, by boto3."""


class JournalUpload(BaseModel):
    """An unfinished upload of one file.

    Attributes:
        path: Path inside the repository.
        key: Key that the upload is for.
        upload_id: S3's name of it.
        checksum: Name of the whole object's checksum.
        checked: Whether the store checks it.
        part_size: Bytes of its parts.
        parts: How many parts, from the first on, are stored for certain.
        state: State of the file's SHA-256 after them, in hex; empty if it cannot be restored.
        crc: Checksum of their bytes, in hex.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    key: str
    upload_id: str
    checksum: str
    checked: bool
    part_size: int
    parts: int = 0
    state: str = ""
    crc: str = "0"


class JournalEntry(BaseModel):
    """What the journal object says.

    Attributes:
        version: Version of this format.
        run: Identifies the run that wrote it.
        holder: Its process; None if it has ended and left its uploads for a later run.
        beat: Grows with every write.
        uploads: The run's unfinished uploads.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    run: str
    holder: Holder | None
    beat: int = 0
    uploads: tuple[JournalUpload, ...] = ()


_LIVE: set[str] = set()
"""Runs of this process that have not ended."""


class LeaseLost(StagingError):
    """Another run has taken this commit over."""


@dataclass(frozen=True)
class LeaseTimes:
    """How the lease is kept.

    Attributes:
        beat_seconds: The holder writes at least this often.
        dead_seconds: A holder that has not written for this long, as the waiting run sees it, is dead.
        poll_seconds: A waiting run looks this often.
    """

    beat_seconds: float = 3.0
    dead_seconds: float = 20.0
    poll_seconds: float = 1.0


class Journal:
    """The journal that this run holds.

    Args:
        model: What is staged.
        store: Where.
        etag: Of the object as it was taken.
        entry: What it said then.
    """

    def __init__(self, model: PinnedModel, store: StoreAccess, etag: str, entry: JournalEntry) -> None:
        self._model, self._store, self._etag = model, store, etag
        self._wire = Wire(STALL_SECONDS)
        self.entry = entry
        self.latency_seconds = 0.05
        """How long the last write took."""

    def write(self, uploads: tuple[JournalUpload, ...], *, release: bool = False) -> None:
        """Write how far the run is.

        Args:
            uploads: Its unfinished uploads.
            release: Whether the run ends here.

        Raises:
            LeaseLost: Another run holds the journal now.
            StoreError: The bucket cannot be written.
        """
        started = time.monotonic()
        entry = self.entry.model_copy(
            update={
                "beat": self.entry.beat + 1,
                "uploads": uploads,
                "holder": None if release else self.entry.holder,
            }
        )
        etag = self._put_signed(entry) or _put(self._model, self._store, entry, self._etag)
        if etag is None:
            # Our own first attempt, if its answer was lost.
            kept = read(self._model, self._store)
            etag = kept[1] if kept is not None and kept[0] == entry else None
        if etag is None:
            raise LeaseLost(
                f"Another run has taken over staging {self._model.repo_id}@{self._model.commit}.",
                cause="This run did not answer for so long that it was taken for dead.",
                fix="Nothing: the other run finishes the work.",
                code="staging.taken_over",
            )
        self.entry, self._etag = entry, etag
        self.latency_seconds = time.monotonic() - started

    def _put_signed(self, entry: JournalEntry) -> str | None:
        """Over a connection of its own; None if that did not work, for whatever reason: boto3 then says what it means.

        A run writes a hundred times and more, and boto3 takes 4 ms of processor time for a request.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        key, body = journal_key(self._store.prefix, self._model), entry.model_dump_json().encode()
        try:
            url = sign("PUT", key, self._store, headers={"if-match": self._etag})
            if url is None:
                return None
            upload = self._wire.put(url, {"If-Match": self._etag}, len(body))
            upload.send(memoryview(body))
            return upload.finish().get("etag")
        except (WireFault, BotoCoreError, ClientError):  # the last two: no credentials to sign with
            return None

    def end(self) -> None:
        """The run has ended, whether or not it could write so."""
        self._wire.close()
        _LIVE.discard(self.entry.run)

    def remove(self) -> None:
        """Take the journal away, as far as the store allows it."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            s3(self._store).delete_object(Bucket=self._store.bucket, Key=journal_key(self._store.prefix, self._model))
        except (BotoCoreError, ClientError):
            return


def acquire(
    model: PinnedModel,
    store: StoreAccess,
    times: LeaseTimes,
    waiting: Callable[[], bool],
) -> tuple[Journal, bool] | None:
    """Become the run that stages this commit.

    Args:
        model: What is staged.
        store: Where.
        times: How long a silent holder is believed to live.
        waiting: Called while another run holds the journal; True ends the waiting.

    Returns:
        The journal and whether another run was waited for; None if `waiting` ended it.

    Raises:
        StoreError: The bucket cannot be used.
    """
    seen, since, waited = "", time.monotonic(), False
    while True:
        found = read(model, store)
        if found is None or _is_free(found[0]) or (found[1] == seen and time.monotonic() - since > times.dead_seconds):
            journal = _take(model, store, found)
            if journal is not None:
                return journal, waited
        if found is not None and found[1] != seen:
            seen, since = found[1], time.monotonic()
        waited = True
        if waiting():
            return None
        time.sleep(times.poll_seconds)


def read(model: PinnedModel, store: StoreAccess) -> tuple[JournalEntry, str] | None:
    """The journal object and its ETag; None if there is none. One that cannot be read is as good as none.

    Raises:
        StoreError: The bucket cannot be read.
    """
    return read_key(journal_key(store.prefix, model), store)


def read_key(key: str, store: StoreAccess) -> tuple[JournalEntry, str] | None:
    """As `read`, by the journal's key."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = s3(store).get_object(Bucket=store.bucket, Key=key)
        text = answer["Body"].read()
    except (BotoCoreError, ClientError) as error:
        if error_code(error) in MISSING:
            return None
        raise explain(error, store, "s3:GetObject") from None
    try:
        return JournalEntry.model_validate_json(text), answer["ETag"]
    except ValidationError:
        return JournalEntry(run="", holder=None), answer["ETag"]


def _is_free(entry: JournalEntry) -> bool:
    if entry.holder is None or entry.holder.is_dead():
        return True
    return entry.holder == this_process() and entry.run not in _LIVE


def _take(model: PinnedModel, store: StoreAccess, found: tuple[JournalEntry, str] | None) -> Journal | None:
    """Write ourselves into the journal; None if somebody else was faster."""
    uploads = found[0].uploads if found else ()
    entry = JournalEntry(run=uuid.uuid4().hex, holder=this_process(), uploads=uploads)
    _LIVE.add(entry.run)
    etag = _put(model, store, entry, found[1] if found else "")
    if etag is not None:
        # A store that ignores conditions lets the last writer win: look who that was.
        kept = read(model, store)
        if kept is None or kept[0].run == entry.run:
            return Journal(model, store, kept[1] if kept else etag, entry)
    _LIVE.discard(entry.run)
    return None


def _put(model: PinnedModel, store: StoreAccess, entry: JournalEntry, replaces: str) -> str | None:
    """Write the object if it is still the one with ETag `replaces` (or missing, if that is empty); its new ETag."""
    from botocore.exceptions import ClientError

    key, body = journal_key(store.prefix, model), entry.model_dump_json().encode()
    with explained(store, "s3:PutObject"):
        try:
            if replaces:
                answer = s3(store).put_object(Bucket=store.bucket, Key=key, Body=body, IfMatch=replaces)
            else:
                answer = s3(store).put_object(Bucket=store.bucket, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error_code(error) in {"PreconditionFailed", "412", "ConditionalRequestConflict", *MISSING}:
                return None
            raise
    return answer["ETag"]
