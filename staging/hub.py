"""The Hugging Face Hub, through huggingface_hub: pin a revision, list a commit's files, resolve where they lie."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from serving.errors import HubError, InputError
from serving.models import ModelSource, PinnedModel
from staging.hub_errors import explain, unreachable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
PUBLIC_HUB = "https://huggingface.co"
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
PATIENCE_SECONDS = 8.0
"""How long a metadata request may be repeated in all. A longer ``Retry-After`` ends it at once."""
TIMEOUT_SECONDS = 10.0


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
    info = ask(
        lambda api: api.model_info(source.repo_id, revision=source.revision, timeout=TIMEOUT_SECONDS),
        hub,
        source.repo_id,
        source.revision,
    )
    if not info.sha:
        raise HubError(
            f"The Hub at {hub.endpoint} named no commit for {source.repo_id}@{source.revision}.",
            fix="Check that the endpoint is a Hugging Face Hub.",
            code="hub.bad_answer",
        )
    return PinnedModel(repo_id=source.repo_id, revision=source.revision, commit=info.sha)


def list_files(model: PinnedModel, hub: HubAccess) -> tuple[HubFile, ...]:
    """All files of the commit, sorted by path.

    Raises:
        HubError: As `pin`.
    """
    from huggingface_hub import RepoFile

    entries = ask(
        lambda api: list(api.list_repo_tree(model.repo_id, recursive=True, revision=model.commit)),
        hub,
        model.repo_id,
        model.commit,
    )
    files = [
        HubFile(
            path=entry.path,
            size=entry.lfs.size if entry.lfs else entry.size,
            blob_id=entry.blob_id,
            sha256=entry.lfs.sha256 if entry.lfs else "",
            xet_hash=entry.xet_hash or "",
        )
        for entry in entries
        if isinstance(entry, RepoFile)
    ]
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
    from huggingface_hub import get_hf_file_metadata

    token = hub.token.get_secret_value() if hub.token else False
    url = resolve_url(model, path, hub)
    found = ask(
        lambda _: get_hf_file_metadata(url, token=token, timeout=TIMEOUT_SECONDS, endpoint=hub.endpoint),
        hub,
        model.repo_id,
        model.commit,
    )
    if found.commit_hash and found.commit_hash != model.commit:
        raise HubError(
            f"The Hub answered {path} of {model.repo_id} from commit {found.commit_hash} instead of {model.commit}.",
            cause="A proxy in between may answer from another revision.",
            fix="Set the endpoint to the Hub itself.",
            code="hub.bad_answer",
        )
    return Location(url=found.location, on_hub=urlsplit(found.location).netloc == urlsplit(url).netloc)


def ask(call: Callable[[HfApi], T], hub: HubAccess, repo_id: str, revision: str) -> T:
    """Make a metadata request, repeat it while that can help, and explain what is left of it.

    Raises:
        HubError: As `pin`.
    """
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=hub.endpoint, token=hub.token.get_secret_value() if hub.token else False)
    started = time.monotonic()
    for attempt in range(100):
        try:
            return call(api)
        except HfHubHTTPError as error:
            explained = explain(error, hub, repo_id, revision)
            wait = _retry_after(error) if error.response.status_code in RETRIED else None
        except (httpx2.TransportError, OSError) as error:
            explained = unreachable(hub, error)
            wait = 0.0
        if wait is None or time.monotonic() - started + wait > PATIENCE_SECONDS or attempt >= 3:
            raise explained from None
        time.sleep(wait or random.uniform(0.2, 0.5) * 2**attempt)  # noqa: S311
    raise AssertionError("unreachable")


def _retry_after(error: object) -> float:
    value = error.response.headers.get("Retry-After", "")  # type: ignore[attr-defined]
    try:
        return max(0.0, float(value))
    except ValueError:
        return 0.0
