"""The Hugging Face Hub: pin a revision, list a commit's files, resolve where they lie.

Documented requests, made over the transfer's own connections: huggingface_hub would make the same ones, but
importing it costs as much processor time as moving half a GiB, and 15 MiB that the transfer then has not.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from pydantic import SecretStr

from serving.errors import InputError
from serving.models import ModelSource, PinnedModel
from staging.hub_errors import bad_answer, explain, unreachable
from staging.wire import Answer, Wire, WireFault

T = TypeVar("T")
PUBLIC_HUB = "https://huggingface.co"
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
PATIENCE_SECONDS = 8.0
"""How long a metadata request may be repeated in all. A longer ``Retry-After`` ends it at once."""
TIMEOUT_SECONDS = 10.0
MOST_REDIRECTS = 5


@dataclass(frozen=True)
class HubAccess:
    """How to reach a Hub.

    Attributes:
        endpoint: Address of the Hub, without a trailing slash.
        token: User access token; None reads as an anonymous visitor.
    """

    endpoint: str = PUBLIC_HUB
    token: SecretStr | None = None

    def headers(self) -> dict[str, str]:
        """Headers that prove who asks; only ever sent to `endpoint`."""
        return {"Authorization": f"Bearer {self.token.get_secret_value()}"} if self.token else {}


@dataclass(frozen=True)
class HubFile:
    """One file of a commit as the Hub lists it.

    Attributes:
        path: Path inside the repository.
        size: Bytes.
        blob_id: Git's SHA-1 of the blob; for an LFS file that of its pointer.
        sha256: Hex digest of an LFS file's content; empty for a file that lies in git itself.
        xet_hash: Set if the Hub stores the file with Xet.
    """

    path: str
    size: int
    blob_id: str
    sha256: str = ""
    xet_hash: str = ""


@dataclass(frozen=True)
class Location:
    """Where the bytes of a file are now; a signed URL that does not live long.

    Attributes:
        url: Absolute URL. May carry a signature: never log it.
        on_hub: Whether the Hub itself serves it, so that it needs the token.
    """

    url: str
    on_hub: bool

    def __repr__(self) -> str:
        parts = urlsplit(self.url)
        return f"Location({parts.scheme}://{parts.netloc}{parts.path})"


def pin(source: ModelSource, hub: HubAccess) -> PinnedModel:
    """Resolve a revision to its commit with one request.

    Raises:
        HubError: ``hub.repo_missing``, ``hub.revision_missing``, ``hub.gated``, ``hub.bad_token``,
            ``hub.token_expired``, ``hub.forbidden``, ``hub.rate_limited`` or ``hub.unreachable``.
    """
    url = f"{_api(hub, source.repo_id)}/revision/{quote(source.revision, safe='')}"
    answer = ask("GET", url, hub, source.repo_id, source.revision)
    commit = document(answer, dict, hub).get("sha")
    if not isinstance(commit, str) or not commit:
        raise bad_answer(hub, f"it named no commit for {source.repo_id}@{source.revision}")
    return PinnedModel(repo_id=source.repo_id, revision=source.revision, commit=commit)


def pin_branches(repo_id: str, branches: Collection[str], hub: HubAccess) -> dict[str, PinnedModel]:
    """Resolve several branches of a repository to their commits with one request: the list of its references.

    Returns:
        By branch. What is no branch is left out, and what is a tag as well, which comes before a branch: `pin` knows.

    Raises:
        HubError: As `pin`.
    """
    answer = ask("GET", f"{_api(hub, repo_id)}/refs", hub, repo_id)
    listed = document(answer, dict, hub)
    try:
        found = {str(one["name"]): str(one["targetCommit"]) for one in listed["branches"]}
        tags = {str(one["name"]) for one in listed.get("tags") or []}
        return {
            name: PinnedModel(repo_id=repo_id, revision=name, commit=found[name])
            for name in branches
            if name in found and name not in tags
        }
    except (LookupError, TypeError, ValueError):
        raise bad_answer(hub, f"its list of references of {repo_id} is none") from None


def list_files(model: PinnedModel, hub: HubAccess) -> tuple[HubFile, ...]:
    """All files of the commit, sorted by path.

    Raises:
        HubError: As `pin`.
    """
    files = [_file(entry, hub) for entry in _tree(model, hub) if entry.get("type") == "file"]
    for file in files:
        if file.path.startswith("/") or ".." in file.path.split("/"):
            raise InputError(f"{model.repo_id} lists a file with the unsafe path {file.path!r}.", code="hub.bad_answer")
    return tuple(sorted(files, key=lambda file: file.path))


def resolve_url(model: PinnedModel, path: str, hub: HubAccess) -> str:
    """The Hub's own address of a file of this commit."""
    return f"{hub.endpoint.rstrip('/')}/{model.repo_id}/resolve/{model.commit}/{quote(path)}"


def resolve(model: PinnedModel, path: str, hub: HubAccess) -> Location:
    """Ask the Hub where a file's bytes are; proves that this token may read it.

    Raises:
        HubError: As `pin`; ``hub.gated`` if the licence was not accepted.
    """
    url = resolve_url(model, path, hub)
    answer = ask("HEAD", url, hub, model.repo_id, model.commit)
    commit = answer.headers.get("X-Repo-Commit", "")
    if commit and commit != model.commit:
        raise bad_answer(
            hub,
            f"it answered {path} of {model.repo_id} from commit {commit} instead of {model.commit}",
            cause="A proxy in between may answer from another revision.",
        )
    location = urljoin(url, answer.headers.get("Location", "") or url)
    return Location(url=location, on_hub=urlsplit(location).netloc == urlsplit(url).netloc)


def _api(hub: HubAccess, repo_id: str) -> str:
    return f"{hub.endpoint.rstrip('/')}/api/models/{repo_id}"


def _tree(model: PinnedModel, hub: HubAccess) -> Iterator[dict[str, Any]]:
    """The entries of the commit's listing, page by page."""
    url = f"{_api(hub, model.repo_id)}/tree/{model.commit}?recursive=true"
    with closing(Wire(TIMEOUT_SECONDS)) as wire:
        while url:
            answer = ask("GET", url, hub, model.repo_id, model.commit, wire=wire)
            yield from document(answer, list, hub)
            page = following(answer)
            url = urljoin(url, page) if page else ""


def _file(entry: Mapping[str, Any], hub: HubAccess) -> HubFile:
    lfs = entry.get("lfs") or {}
    try:
        return HubFile(
            path=entry["path"],
            size=lfs.get("size", entry["size"]),
            blob_id=entry["oid"],
            sha256=lfs.get("oid", ""),
            xet_hash=entry.get("xetHash") or "",
        )
    except KeyError as missing:
        raise bad_answer(hub, f"an entry of its file list has no {missing}") from None


def ask(
    method: str, url: str, hub: HubAccess, repo_id: str, revision: str = "main", *, wire: Wire | None = None
) -> Answer:
    """Make a metadata request, repeat it while that can help, and explain what is left of it.

    Redirects are followed, for example those of a repository that was renamed; for HEAD one to elsewhere is the answer.

    Args:
        method: GET or HEAD.
        url: On the Hub.
        hub: How to reach it.
        repo_id: What is asked about, for messages.
        revision: The same.
        wire: Connections to use; by default one that is closed again.

    Raises:
        HubError: As `pin`.
    """
    if wire is not None:
        return _ask(wire, method, url, hub, repo_id, revision)
    with closing(Wire(TIMEOUT_SECONDS)) as own:
        return _ask(own, method, url, hub, repo_id, revision)


def following(answer: Answer) -> str:
    """Address of the next page of a list; empty if this is the last."""
    found = re.search(r'<([^>]*)>\s*;\s*rel="?next"?', answer.headers.get("Link", ""))
    return found.group(1) if found else ""


def document(answer: Answer, kind: type[T], hub: HubAccess) -> T:
    """The JSON of an answer.

    Args:
        answer: What the Hub said.
        kind: What it must be: `dict` or `list`.
        hub: The Hub.

    Raises:
        HubError: ``hub.bad_answer``.
    """
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, kind):
        raise bad_answer(hub, "its answer is not what a Hub says")
    return found


def _ask(wire: Wire, method: str, url: str, hub: HubAccess, repo_id: str, revision: str) -> Answer:
    started, attempt, moves = time.monotonic(), 0, 0
    while True:
        wait: float | None = None
        try:
            answer = wire.ask(method, url, _headers(url, hub))
        except WireFault as fault:
            explained, wait = unreachable(hub, fault.detail), 0.0
        else:
            target = urljoin(url, answer.headers.get("Location", "")) if 300 <= answer.status < 400 else ""
            elsewhere = urlsplit(target).netloc != urlsplit(url).netloc
            if answer.status < 300 or (target and elsewhere and method == "HEAD"):
                return answer
            if target and moves < MOST_REDIRECTS:
                url, moves = target, moves + 1
                continue
            explained = explain(answer, hub, repo_id, revision)
            if answer.status in RETRIED:
                wait = _seconds(answer.headers.get("Retry-After", ""))
        if wait is None or time.monotonic() - started + wait > PATIENCE_SECONDS or attempt >= 3:
            raise explained from None
        time.sleep(wait or random.uniform(0.2, 0.5) * 2**attempt)  # noqa: S311
        attempt += 1


def _headers(url: str, hub: HubAccess) -> dict[str, str]:
    ours = urlsplit(url).netloc == urlsplit(hub.endpoint).netloc
    return {"User-Agent": "inference-flows", **(hub.headers() if ours else {})}


def _seconds(value: str) -> float:
    try:
        return max(0.0, float(value))
    except ValueError:
        return 0.0
