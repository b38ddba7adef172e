"""Where things stand in the bucket.

<prefix>/<org>/<name>/<commit>/<path>                   files of a staged model (layout "commit")
<prefix>/<org>/<name>/<commit>/.staged-model.json       its manifest, written last
<prefix>/<org>/<name>/<path>                            the same with layout "flat": one commit at a time
<prefix>/.staging/<org>/<name>/<commit>.json            who stages this commit now, and how far it is
"""

from enum import StrEnum

from serving.models import MANIFEST_NAME, PinnedModel

JOURNALS = ".staging/"
"""Below the store's prefix: journals of runs under way. A finished run leaves nothing here."""


class Layout(StrEnum):
    """How staged files are named below the store's prefix."""

    COMMIT = "commit"
    FLAT = "flat"


def base(prefix: str) -> str:
    """The store's prefix without leading slash and with a trailing one; empty for the bucket's root."""
    cleaned = prefix.strip("/")
    return f"{cleaned}/" if cleaned else ""


def model_root(prefix: str, repo_id: str) -> str:
    """Key prefix that all commits of a model share, with a trailing slash."""
    return f"{base(prefix)}{repo_id}/"


def staged_prefix(prefix: str, model: PinnedModel, layout: Layout) -> str:
    """Key prefix of one staged commit, with a trailing slash."""
    root = model_root(prefix, model.repo_id)
    return root if layout is Layout.FLAT else f"{root}{model.commit}/"


def manifest_key(prefix: str, model: PinnedModel, layout: Layout) -> str:
    """Key of the manifest object."""
    return staged_prefix(prefix, model, layout) + MANIFEST_NAME


def journal_key(prefix: str, model: PinnedModel) -> str:
    """Key of the journal of a run that is under way."""
    return f"{base(prefix)}{JOURNALS}{model.repo_id}/{model.commit}.json"
