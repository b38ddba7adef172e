"""Which staged models releases use. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from serving.record import KEPT_RELEASES, EndpointRecord, ReleaseRecord


@dataclass(frozen=True)
class Use:
    """A release that needs a staged model.

    Attributes:
        endpoint: ``namespace/endpoint``.
        how: ``serves``, ``comes up``, ``kept for rollback``, or ``has pods``.
    """

    endpoint: str
    how: str

    def __str__(self) -> str:
        return f"{self.endpoint} ({self.how})"


def used_by(record: EndpointRecord, *, keep_releases: int = KEPT_RELEASES) -> dict[str, Use]:
    """Staged models that an endpoint's releases use, by their URI.

    Args:
        record: The endpoint's record.
        keep_releases: So many earlier releases, the newest, keep their weights; the others would stage them again.
    """
    endpoint = f"{record.spec.namespace}/{record.spec.name}"
    found: dict[str, Use] = {}

    def add(release: ReleaseRecord | None, how: str) -> None:
        if release is not None and release.staged_uri:
            found.setdefault(release.staged_uri, Use(endpoint, how))

    add(record.current, "serves")
    add(record.candidate, "comes up")
    for old in record.previous[:keep_releases]:
        add(old, "kept for rollback")
    return found


def in_use(records: Iterable[EndpointRecord], *, keep_releases: int = KEPT_RELEASES) -> dict[str, list[Use]]:
    """Staged models that any of these endpoints uses, by their URI."""
    found: dict[str, list[Use]] = {}
    for record in records:
        for uri, use in used_by(record, keep_releases=keep_releases).items():
            found.setdefault(uri, []).append(use)
    return found
