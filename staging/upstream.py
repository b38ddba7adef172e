"""What happened to a branch since the commit that is served, and what a newer commit would change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import quote

from serving.errors import HubError, InferenceError
from serving.models import ModelSource, PinnedModel
from staging.hub import HubAccess, HubFile, ask, document, following, resolve_url
from staging.hub_errors import bad_answer

CARD = "README.md"
CARD_BYTES = 200_000
"""Longest model card that is compared."""


@dataclass(frozen=True)
class Commit:
    """A commit of the Hub.

    Attributes:
        at: When it was made; aware.
    """

    sha: str
    title: str
    at: datetime


@dataclass(frozen=True)
class Upstream:
    """The newest commits of a branch.

    Attributes:
        commits: The newest first; as many as the Hub puts on one page.
        complete: Whether there are no older ones.
    """

    commits: tuple[Commit, ...]
    complete: bool

    def missing(self, commit: str) -> tuple[Commit, ...]:
        """Commits that came after this one, the newest first; all that are listed if it is not among them."""
        shas = [one.sha for one in self.commits]
        return self.commits[: shas.index(commit)] if commit in shas else self.commits

    def behind(self, commit: str) -> str:
        """How far a commit is behind the branch, for people: empty if it is the newest."""
        missing = self.missing(commit)
        if not missing:
            return ""
        more = "+" if len(missing) == len(self.commits) and not self.complete else ""
        counted = f"{len(missing)}{more} commit{'' if len(missing) == 1 else 's'}"
        return f"{counted} since {missing[-1].at:%Y-%m-%d}"


def upstream(source: ModelSource, hub: HubAccess) -> Upstream:
    """The newest commits of a branch, with one request.

    Raises:
        HubError: As `staging.hub.pin`.
    """
    url = f"{hub.endpoint.rstrip('/')}/api/models/{source.repo_id}/commits/{quote(source.revision, safe='')}"

    answer = ask("GET", url, hub, source.repo_id, source.revision)
    try:
        commits = tuple(
            Commit(str(item["id"]), str(item["title"]), datetime.fromisoformat(item["date"]))
            for item in document(answer, list, hub)
        )
    except (ValueError, LookupError, TypeError):
        raise bad_answer(hub, f"it did not list the commits of {source.repo_id}") from None
    return Upstream(commits, complete=not following(answer))


class FileChange(StrEnum):
    """What a newer commit does to a file."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True)
class ChangedFile:
    """A file that two commits do not have in common.

    Attributes:
        before: Bytes in the older commit; None if it is not there.
        after: Bytes in the newer commit; None if it is not there.
    """

    path: str
    before: int | None
    after: int | None

    @property
    def change(self) -> FileChange:
        """What happens to it."""
        if self.before is None:
            return FileChange.ADDED
        return FileChange.REMOVED if self.after is None else FileChange.CHANGED


def compare(old: Iterable[HubFile], new: Iterable[HubFile]) -> tuple[ChangedFile, ...]:
    """Files that differ between two commits, by path. Pure."""
    before, after = ({file.path: file for file in files} for files in (old, new))
    return tuple(
        ChangedFile(
            path,
            before[path].size if path in before else None,
            after[path].size if path in after else None,
        )
        for path in sorted(before.keys() | after.keys())
        if path not in before or path not in after or before[path].blob_id != after[path].blob_id
    )


def card_diff(old: PinnedModel, new: PinnedModel, hub: HubAccess) -> str:
    """Unified diff of the model cards of two commits; empty if they are the same or one cannot be read."""
    try:
        before, after = (_card(one, hub) for one in (old, new))
    except InferenceError:
        return ""
    return "".join(_diff(before, after, old.commit[:12], new.commit[:12]))


def _diff(before: Sequence[str], after: Sequence[str], old: str, new: str) -> Iterable[str]:
    lines = difflib.unified_diff(before, after, fromfile=f"{CARD} ({old})", tofile=f"{CARD} ({new})")
    return (line if line.endswith("\n") else f"{line}\n" for line in lines)


def _card(model: PinnedModel, hub: HubAccess) -> list[str]:
    """The lines of a commit's model card; none if it has no card.

    Raises:
        HubError: It may not be read.
    """
    try:
        answer = ask("GET", resolve_url(model, CARD, hub), hub, model.repo_id, model.commit)
    except HubError as error:
        if error.code == "hub.file_missing":
            return []
        raise
    return answer.body[:CARD_BYTES].decode("utf-8", "replace").splitlines(keepends=True)
