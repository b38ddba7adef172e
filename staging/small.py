"""Small files of a commit, read whole and verified: from the model store if they stand there, else from the Hub."""

from __future__ import annotations

import hashlib

from serving.errors import StagingError
from serving.models import PinnedModel, StagedModel
from staging.hashing import FileDigest
from staging.hub import HubAccess, HubFile, ask, resolve_url
from staging.plan import StagePlan
from staging.store import StoreAccess, explained, s3

MOST = 1 << 20
"""Bytes of the largest file that is read so."""


def read_planned(plan: StagePlan, path: str) -> bytes | None:
    """Read a file of a planned model, wherever it stands.

    Returns:
        Its content; None if there is no such file, or it is not small.

    Raises:
        HubError: It cannot be read from the Hub.
        StoreError: It cannot be read from the store.
        StagingError: Its bytes are not what they should be.
    """
    if plan.staged is not None:
        return read_staged(plan.staged, path, plan.store)
    found = next((planned.file for planned in plan.files if planned.file.path == path), None)
    return read_hub(plan.model, found, plan.hub) if found is not None else None


def read_staged(staged: StagedModel, path: str, store: StoreAccess) -> bytes | None:
    """Read a file of a staged model with one request.

    Raises:
        StoreError: It cannot be read.
        StagingError: Its bytes are not those that were staged.
    """
    file = next((file for file in staged.files if file.path == path), None)
    if file is None or file.size > MOST:
        return None
    with explained(store, "s3:GetObject"):
        content: bytes = s3(store).get_object(Bucket=staged.bucket, Key=staged.prefix + path)["Body"].read()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise _wrong(f"{staged.uri}{path}", "Stage the model again.")
    return content


def read_hub(model: PinnedModel, file: HubFile, hub: HubAccess) -> bytes | None:
    """Read a file of a commit from the Hub.

    Raises:
        HubError: It cannot be read.
        StagingError: Its bytes are not those that the Hub lists.
    """
    if file.size > MOST:
        return None
    content = ask("GET", resolve_url(model, file.path, hub), hub, model.repo_id, model.commit).body
    digest = FileDigest(file)
    digest.update(memoryview(bytearray(content)))
    if len(content) != file.size or digest.mismatch() is not None:
        raise _wrong(f"{file.path} of {model.repo_id}@{model.commit}", "Try again.")
    return content


def _wrong(what: str, fix: str) -> StagingError:
    return StagingError(f"{what} arrived with other bytes than it should have.", fix=fix, code="staging.corrupt")
