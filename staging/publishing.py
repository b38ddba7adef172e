"""The last step of a staging: the manifest, and what a flat prefix needs around it."""

from __future__ import annotations

from serving.errors import StagingError
from serving.models import StagedModel
from staging.layout import manifest_key
from staging.manifest import ManifestFile, find_staged, new_manifest, publish, staged_model
from staging.plan import StagePlan
from staging.store import explained, s3


def publish_model(plan: StagePlan, files: list[ManifestFile]) -> StagedModel:
    """Make a model visible whose files are all in the bucket and verified.

    Raises:
        StoreError: The bucket cannot be written.
        StagingError: ``staging.published_otherwise``.
    """
    manifest = new_manifest(plan.model, plan.selection, files)
    staged = staged_model(manifest, plan.model, plan.store)
    if not publish(manifest, plan.model, plan.store, _replaced_etag(plan)):
        staged = _published_by_another(plan, staged)
    _clear_flat(plan, staged)
    return staged


def _replaced_etag(plan: StagePlan) -> str:
    """ETag of the manifest to replace: that of the same commit with another selection."""
    same = plan.replaced is not None and plan.replaced.commit == plan.model.commit
    return plan.replaces if same else ""


def unpublish_flat(plan: StagePlan) -> None:
    """A flat prefix holds one commit: take the old one's manifest away before its files are written over."""
    if plan.replaced is not None and plan.replaced.commit != plan.model.commit:
        with explained(plan.store, "s3:DeleteObject"):
            key = manifest_key(plan.store.prefix, plan.model, plan.store.layout)
            s3(plan.store).delete_object(Bucket=plan.store.bucket, Key=key)


def _clear_flat(plan: StagePlan, staged: StagedModel) -> None:
    """Remove what the flat prefix still holds of the commit before."""
    if plan.replaced is None or plan.replaced.commit == plan.model.commit:
        return
    keep = {file.path for file in staged.files}
    with explained(plan.store, "s3:DeleteObject"):
        for file in plan.replaced.files:
            if file.path not in keep:
                s3(plan.store).delete_object(Bucket=plan.store.bucket, Key=staged.prefix + file.path)


def _published_by_another(plan: StagePlan, ours: StagedModel) -> StagedModel:
    """Another run published this commit first: its files are the same, or something is wrong."""
    theirs = find_staged(plan.model, plan.store)
    if theirs is not None and set(theirs.files) >= set(ours.files):
        return theirs
    raise StagingError(
        f"Another run published {plan.model.repo_id}@{plan.model.commit} at {plan.uri} with other files.",
        cause="Two runs with different file selections staged the same commit at the same time.",
        fix="Start the run again: it adds the files that are missing.",
        code="staging.published_otherwise",
    )
