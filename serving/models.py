"""A model on its way: source (repo + revision) → pinned (repo + commit) → staged (immutable S3 prefix)."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from serving.forms import FormGroup

MANIFEST_NAME = ".staged-model.json"
"""Name of the manifest object inside a staged model's prefix. Written last: no manifest, no model."""

RepoId = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$", strip_whitespace=True
    ),
]
"""``organization/name``, as the Hub spells it."""

COMMIT = re.compile(r"^[0-9a-f]{40}$")


class ModelSource(FormGroup):
    """What the user names: a Hub repository and a branch, tag or commit."""

    model_config = ConfigDict(extra="ignore")

    repo_id: RepoId = Field(title="Repository", description="Hub repository, organization/name")
    revision: str = Field(default="main", min_length=1, description="Branch, tag or commit")


class PinnedModel(BaseModel):
    """One commit of a repository: everything after the start of a run uses this."""

    model_config = ConfigDict(frozen=True)

    repo_id: RepoId
    revision: str
    commit: Annotated[str, StringConstraints(pattern=COMMIT.pattern)]


class StagedFile(BaseModel):
    """One verified file of a staged model.

    Attributes:
        path: Path inside the repository and below the staged prefix.
        size: Bytes.
        sha256: Hex digest of the whole file, computed while it travelled.
    """

    model_config = ConfigDict(frozen=True)

    path: str
    size: int = Field(ge=0)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class StagedModel(BaseModel):
    """An immutable S3 prefix that holds one commit, every byte verified.

    Attributes:
        uri: ``s3://bucket/…/<commit>/``, with its trailing slash.
        region: Region of the bucket; empty if the store has none.
        endpoint_url: Set for S3-compatible stores only; pods get it too.
    """

    model_config = ConfigDict(frozen=True)

    model: PinnedModel
    uri: Annotated[str, StringConstraints(pattern=r"^s3://[^/]+/(.*/)?$")]
    files: tuple[StagedFile, ...]
    region: str = ""
    endpoint_url: str = ""

    @property
    def total_bytes(self) -> int:
        """Bytes of all files, the manifest left out."""
        return sum(file.size for file in self.files)

    @property
    def bucket(self) -> str:
        """Bucket name."""
        return urlsplit(self.uri).netloc

    @property
    def prefix(self) -> str:
        """Key prefix with its trailing slash."""
        return urlsplit(self.uri).path.lstrip("/")

    @property
    def manifest_uri(self) -> str:
        """Where the manifest object stands."""
        return self.uri + MANIFEST_NAME
