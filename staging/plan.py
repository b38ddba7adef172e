"""What a staging would do, before a byte moves: what is there, what can be copied inside S3, what must travel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from serving.errors import InputError
from serving.models import MANIFEST_NAME, PinnedModel, StagedModel
from staging.hub import HubAccess, HubFile, list_files, resolve
from staging.layout import Layout, manifest_key, model_root, staged_prefix
from staging.manifest import Manifest, ManifestFile, read_manifest, staged_model
from staging.parts import MAX_FILE
from staging.selection import DEFAULT_IGNORE, Selection, SkippedFile, select
from staging.store import MISSING, StoreAccess, error_code, explain, explained, s3

EARLIER_COMMITS = 5
"""How many earlier manifests, the newest first, are searched for files that did not change."""
SHA256_KEY = "sha256"
BLOB_KEY = "git-blob"
"""Names of the user metadata that every object carries which this engine verified."""


class Source(StrEnum):
    """Where a file's bytes come from."""

    PRESENT = "present"
    COPY = "copy"
    HUB = "hub"


@dataclass(frozen=True)
class PlannedFile:
    """One file of the plan.

    Attributes:
        file: What the Hub lists.
        key: Key of the object that it becomes.
        source: Where its bytes come from.
        copy_from: Key of the object with the same content, if `source` is ``copy``.
        sha256: Hex digest, if it is known before the file was read.
    """

    file: HubFile
    key: str
    source: Source
    copy_from: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class StagePlan:
    """Everything that `staging.engine.stage` needs.

    Attributes:
        model: What is staged.
        hub: Where from.
        store: Where to.
        selection: Which files were wanted.
        files: The files to stage; of a model that is staged already, none.
        skipped: The files left out, with the reason.
        staged: The staged model, if nothing is left to do.
        replaces: ETag of the manifest that the new one replaces; empty if there is none.
        replaced: The manifest of that ETag.
    """

    model: PinnedModel
    hub: HubAccess
    store: StoreAccess
    selection: Selection
    files: tuple[PlannedFile, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()
    staged: StagedModel | None = None
    replaces: str = ""
    replaced: Manifest | None = field(default=None, repr=False)

    def bytes_from(self, source: Source) -> int:
        """Bytes of all files with this source."""
        return sum(file.file.size for file in self.files if file.source is source)

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole staged model."""
        return self.staged.total_bytes if self.staged else sum(file.file.size for file in self.files)

    @property
    def uri(self) -> str:
        """Where the model will stand."""
        return f"s3://{self.store.bucket}/{staged_prefix(self.store.prefix, self.model, self.store.layout)}"


@dataclass(frozen=True)
class _Stored:
    """An object of the listing."""

    size: int
    modified: datetime


def plan(
    model: PinnedModel,
    hub: HubAccess,
    store: StoreAccess,
    *,
    allow: Sequence[str] = (),
    ignore: Sequence[str] = DEFAULT_IGNORE,
    duplicates: bool = False,
) -> StagePlan:
    """Find out what must be done to stage a commit. Writes nothing.

    A commit that is staged with this selection costs one request. Anything else costs the Hub's file list, one
    listing of the model's prefix, the manifests of earlier commits, and one look whether the files can be read.

    Args:
        model: What to stage.
        hub: Where from.
        store: Where to.
        allow: See `Selection`.
        ignore: See `Selection`.
        duplicates: See `Selection`.

    Raises:
        HubError: As `staging.hub.pin`; ``hub.gated`` if the files cannot be read with this token.
        StoreError: The bucket cannot be read.
        InputError: ``input.nothing_selected``, ``input.file_too_large`` or ``input.reserved_name``.
        StagingError: ``staging.manifest_unreadable``.
    """
    selection = Selection(tuple(allow), tuple(ignore), duplicates)
    current = read_manifest(manifest_key(store.prefix, model, store.layout), store)
    same_commit = current is not None and current[0].commit == model.commit
    if current is not None and same_commit and current[0].selection == selection:
        return StagePlan(model, hub, store, selection, staged=staged_model(current[0], model, store))
    selected, skipped = select(list_files(model, hub), selection)
    _check(model, selected)
    if current is not None and same_commit and _covers(current[0], selected):
        return StagePlan(model, hub, store, selection, skipped=skipped, staged=staged_model(current[0], model, store))
    stored = _listing(store, model_root(store.prefix, model.repo_id))
    earlier = _earlier(model, store, stored, current[0] if current else None)
    files = _files(model, store, selected, stored, earlier)
    unread = [file.file for file in files if file.source is Source.HUB]
    if unread:
        resolve(model, max(unread, key=lambda file: file.size).path, hub)
    return StagePlan(
        model,
        hub,
        store,
        selection,
        files,
        skipped,
        replaces=current[1] if current else "",
        replaced=current[0] if current else None,
    )


def _covers(manifest: Manifest, selected: Iterable[HubFile]) -> bool:
    staged = {file.path: file.blob_id for file in manifest.files}
    return all(staged.get(file.path) == file.blob_id for file in selected)


def _check(model: PinnedModel, selected: Sequence[HubFile]) -> None:
    if not selected:
        raise InputError(
            f"No file of {model.repo_id}@{model.revision} is selected.",
            cause="The patterns match nothing, or the repository is empty.",
            fix="Look at the repository's files and correct the patterns.",
            code="input.nothing_selected",
        )
    for file in selected:
        if file.size > MAX_FILE:
            raise InputError(
                f"{file.path} of {model.repo_id} has {file.size} bytes; an S3 object holds at most 5 TiB.",
                fix="Ignore the file.",
                code="input.file_too_large",
            )
        if file.path == MANIFEST_NAME:
            raise InputError(
                f"{model.repo_id} has a file named {MANIFEST_NAME}, which is the name of the staged model's manifest.",
                fix="Ignore the file.",
                code="input.reserved_name",
            )


def _listing(store: StoreAccess, prefix: str) -> dict[str, _Stored]:
    found: dict[str, _Stored] = {}
    with explained(store, "s3:ListBucket"):
        for page in s3(store).get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                found[item["Key"]] = _Stored(item["Size"], item["LastModified"])
    return found


def _earlier(
    model: PinnedModel, store: StoreAccess, stored: dict[str, _Stored], current: Manifest | None
) -> dict[str, tuple[str, ManifestFile]]:
    """Files of other staged commits by git's blob id: their key and manifest entry."""
    root = model_root(store.prefix, model.repo_id)
    own = manifest_key(store.prefix, model, store.layout)
    keys = [
        key
        for key in stored
        if key.endswith(f"/{MANIFEST_NAME}") and key != own and key.count("/") == root.count("/") + 1
    ]
    keys.sort(key=lambda key: stored[key].modified, reverse=True)
    keys = keys[:EARLIER_COMMITS]
    found: dict[str, tuple[str, ManifestFile]] = {}
    with ThreadPoolExecutor(EARLIER_COMMITS) as pool:
        manifests = [
            (key.removesuffix(MANIFEST_NAME), read[0])
            for key, read in zip(keys, pool.map(lambda key: read_manifest(key, store), keys), strict=True)
            if read
        ]
    if current is not None and store.layout is Layout.COMMIT:
        manifests.append((own.removesuffix(MANIFEST_NAME), current))
    for prefix, manifest in reversed(manifests):
        for file in manifest.files:
            held = stored.get(prefix + file.path)
            if held is not None and held.size == file.size:
                found[file.blob_id] = (prefix + file.path, file)
    return found


def _files(
    model: PinnedModel,
    store: StoreAccess,
    selected: Sequence[HubFile],
    stored: dict[str, _Stored],
    earlier: dict[str, tuple[str, ManifestFile]],
) -> tuple[PlannedFile, ...]:
    prefix = staged_prefix(store.prefix, model, store.layout)
    candidates = [file for file in selected if (held := stored.get(prefix + file.path)) and held.size == file.size]
    with ThreadPoolExecutor(16) as pool:
        digests = pool.map(lambda file: verified_digest(store, prefix + file.path, file), candidates)
        present = dict(zip((file.path for file in candidates), digests, strict=True))
    planned = []
    for file in selected:
        key = prefix + file.path
        digest = present.get(file.path, "")
        if digest:
            planned.append(PlannedFile(file, key, Source.PRESENT, sha256=digest))
        elif (same := earlier.get(file.blob_id)) and same[0] != key:
            planned.append(PlannedFile(file, key, Source.COPY, copy_from=same[0], sha256=same[1].sha256))
        else:
            planned.append(PlannedFile(file, key, Source.HUB, sha256=file.sha256))
    return tuple(planned)


def verified_digest(store: StoreAccess, key: str, file: HubFile) -> str:
    """SHA-256 of an object if this engine verified it as this very file; else empty.

    Only a verified file ever gets the metadata that this looks at, see `object_metadata`.

    Raises:
        StoreError: The bucket cannot be read.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        head = s3(store).head_object(Bucket=store.bucket, Key=key)
    except (BotoCoreError, ClientError) as error:
        if error_code(error) in MISSING:
            return ""
        raise explain(error, store, "s3:GetObject") from None
    metadata = head.get("Metadata", {})
    if head["ContentLength"] != file.size or metadata.get(BLOB_KEY) != file.blob_id:
        return ""
    digest = metadata.get(SHA256_KEY, "")
    return digest if not file.sha256 or digest == file.sha256 else ""


def object_metadata(file: HubFile, sha256: str) -> dict[str, str]:
    """User metadata of the object that a verified file becomes."""
    return {SHA256_KEY: sha256, BLOB_KEY: file.blob_id}
