"""What a bucket holds: staged models, runs under way, and what can be removed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from serving.errors import StagingError
from serving.models import MANIFEST_NAME
from staging import uploads
from staging.journal import JournalEntry, read_key
from staging.layout import JOURNALS, base
from staging.manifest import Manifest, read_manifest
from staging.plan import BLOB_KEY
from staging.store import StoreAccess, explained, s3
from staging.uploads import OpenUpload

STALE = timedelta(days=7)
"""Unfinished uploads older than this are of no use to anybody by default."""

_OF_A_COMMIT = re.compile(r"(?P<root>(?P<repo>[^/.][^/]*/[^/]+)/(?P<commit>[0-9a-f]{40}))/.")
"""A file of a staged commit, below the store's prefix."""


@dataclass(frozen=True)
class StagedCommit:
    """A staged model as the bucket has it.

    Attributes:
        prefix: Key prefix with a trailing slash.
        manifest: What its manifest says.
    """

    prefix: str
    manifest: Manifest

    @property
    def name(self) -> str:
        """``organization/name@commit``."""
        return f"{self.manifest.repo_id}@{self.manifest.commit}"


@dataclass(frozen=True)
class Remains:
    """Files of a commit that has no manifest: a staging or a removal that was interrupted.

    Attributes:
        prefix: Key prefix with a trailing slash.
        name: ``organization/name@commit``.
        keys: The files.
        bytes: Bytes of these.
        newest: When the last of them was written.
    """

    prefix: str
    name: str
    keys: tuple[str, ...]
    bytes: int
    newest: datetime


@dataclass(frozen=True)
class Inventory:
    """What stands below a store's prefix.

    Attributes:
        staged: Staged models, by name and then the oldest first.
        journals: Runs under way or interrupted, by the journal's key.
        remains: What interrupted runs have left of commits.
    """

    staged: tuple[StagedCommit, ...]
    journals: dict[str, JournalEntry]
    remains: tuple[Remains, ...] = ()

    def under_way(self, prefix: str) -> set[str]:
        """Commits that a run stages now, as ``organization/name@commit``.

        Args:
            prefix: The store's.
        """
        return {
            journal_name(key, prefix)
            for key, entry in self.journals.items()
            if entry.holder is not None and not entry.holder.is_dead()
        }


def journal_name(key: str, prefix: str) -> str:
    """The commit that a journal is about, as ``organization/name@commit``."""
    repo_id, _, commit = key.removeprefix(base(prefix) + JOURNALS).removesuffix(".json").rpartition("/")
    return f"{repo_id}@{commit}"


@dataclass(frozen=True)
class PrunePlan:
    """What pruning would remove.

    Attributes:
        commits: Staged models that nobody uses.
        uploads: Unfinished uploads that are too old.
        journals: Keys of journals that no run holds and that name no upload.
        remains: What interrupted runs have left of commits, long ago.
    """

    commits: tuple[StagedCommit, ...]
    uploads: tuple[OpenUpload, ...]
    journals: tuple[str, ...]
    remains: tuple[Remains, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of the staged models and of the remains."""
        return sum(commit.manifest.total_bytes for commit in self.commits) + sum(one.bytes for one in self.remains)


def inventory(store: StoreAccess) -> Inventory:
    """List the staged models and runs below the store's prefix: a listing, and one request for each.

    Raises:
        StoreError: The bucket cannot be read.
    """
    prefix = base(store.prefix)
    objects: dict[str, tuple[int, datetime]] = {}
    with explained(store, "s3:ListBucket"):
        for page in s3(store).get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=prefix):
            objects |= {item["Key"]: (item["Size"], item["LastModified"]) for item in page.get("Contents", [])}
    keys = list(objects)
    journals = [key for key in keys if key.startswith(prefix + JOURNALS)]
    manifests = [key for key in keys if key.endswith(f"/{MANIFEST_NAME}") and key not in journals]
    with ThreadPoolExecutor(16) as pool:
        read = pool.map(lambda key: _manifest(key, store), manifests)
        staged = [
            StagedCommit(key.removesuffix(MANIFEST_NAME), found)
            for key, found in zip(manifests, read, strict=True)
            if found
        ]
        entries = {key: found[0] for key in journals if (found := read_key(key, store))}
    staged.sort(key=lambda commit: (commit.manifest.repo_id, commit.manifest.staged_at))
    whole = {key.removesuffix(MANIFEST_NAME) for key in manifests}
    return Inventory(tuple(staged), entries, tuple(_remains(objects, prefix, whole)))


def _remains(objects: Mapping[str, tuple[int, datetime]], prefix: str, whole: Collection[str]) -> Iterator[Remains]:
    """Files below the prefix of a commit without a manifest; files that are named otherwise are none of ours."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for key in objects:
        found = _OF_A_COMMIT.match(key.removeprefix(prefix))
        own = {f"{prefix}{found['root']}/", f"{prefix}{found['repo']}/"} if found else set()
        if found and own.isdisjoint(whole):
            groups.setdefault((found["root"], found["repo"], found["commit"]), []).append(key)
    for (root, repo, commit), keys in groups.items():
        sizes, moments = zip(*(objects[key] for key in keys), strict=True)
        yield Remains(f"{prefix}{root}/", f"{repo}@{commit}", tuple(keys), sum(sizes), max(moments))


def plan_prune(
    store: StoreAccess,
    in_use: Collection[str],
    *,
    keep_newest: int = 1,
    stale: timedelta = STALE,
    now: datetime | None = None,
) -> PrunePlan:
    """Find what nobody uses. Removes nothing.

    Args:
        store: Where.
        in_use: ``organization/name@commit`` of what releases use; never removed.
        keep_newest: How many commits of each model stay in any case.
        stale: Unfinished uploads and remains of commits below this age stay.
        now: The time; by default the present.

    Raises:
        StoreError: The bucket cannot be read.
    """
    found = inventory(store)
    newest = {commit.name for group in _by_model(found.staged) for commit in group[len(group) - keep_newest :]}
    kept = {*newest, *in_use, *found.under_way(store.prefix)}
    unused = [commit for commit in found.staged if commit.name not in kept]
    held = {upload.upload_id for entry in found.journals.values() if entry.holder for upload in entry.uploads}
    oldest = (now or datetime.now(UTC)) - stale
    stale_uploads = tuple(upload for upload in _unfinished(store, oldest) if upload.upload_id not in held)
    gone = {upload.upload_id for upload in stale_uploads}
    journals = [
        key
        for key, entry in found.journals.items()
        if (entry.holder is None or entry.holder.is_dead()) and {upload.upload_id for upload in entry.uploads} <= gone
    ]
    left = {journal_name(key, store.prefix) for key in found.journals.keys() - set(journals)}
    old = [one for one in found.remains if one.newest < oldest and one.name not in left and one.name not in in_use]
    remains = tuple(one for one in old if _is_ours(one, store))
    return PrunePlan(tuple(unused), stale_uploads, tuple(journals), remains)


def prune(plan: PrunePlan, store: StoreAccess) -> None:
    """Remove what the plan lists: of each model the manifest first, so that nothing half-removed looks whole.

    Raises:
        StoreError: The bucket cannot be written.
    """
    with explained(store, "s3:DeleteObject"):
        for commit in plan.commits:
            s3(store).delete_object(Bucket=store.bucket, Key=commit.prefix + MANIFEST_NAME)
            _delete(store, (commit.prefix + file.path for file in commit.manifest.files))
        for remains in plan.remains:
            _delete(store, remains.keys)
        _delete(store, plan.journals)
    for upload in plan.uploads:
        uploads.abort(upload, store)


def _is_ours(remains: Remains, store: StoreAccess) -> bool:
    """Whether every file carries what this engine alone writes: another program may name its objects likewise."""

    def ours(key: str) -> bool:
        with explained(store, "s3:GetObject"):
            return BLOB_KEY in s3(store).head_object(Bucket=store.bucket, Key=key).get("Metadata", {})

    with ThreadPoolExecutor(16) as pool:
        return all(pool.map(ours, remains.keys))


def _manifest(key: str, store: StoreAccess) -> Manifest | None:
    try:
        found = read_manifest(key, store)
    except StagingError:
        return None
    return found[0] if found else None


def _by_model(staged: Iterable[StagedCommit]) -> list[list[StagedCommit]]:
    groups: dict[str, list[StagedCommit]] = {}
    for commit in staged:
        groups.setdefault(commit.manifest.repo_id, []).append(commit)
    return list(groups.values())


def _unfinished(store: StoreAccess, before: datetime) -> list[OpenUpload]:
    found: list[OpenUpload] = []
    with explained(store, "s3:ListBucketMultipartUploads"):
        pages = s3(store).get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=store.bucket, Prefix=base(store.prefix)):
            for upload in page.get("Uploads", []):
                if upload["Initiated"] < before:
                    found.append(OpenUpload(upload["Key"], upload["UploadId"]))
    return found


def _delete(store: StoreAccess, keys: Iterable[str]) -> None:
    todo = list(keys)
    for start in range(0, len(todo), 1000):
        batch = [{"Key": key} for key in todo[start : start + 1000]]
        s3(store).delete_objects(Bucket=store.bucket, Delete={"Objects": batch, "Quiet": True})  # type: ignore[typeddict-item]
