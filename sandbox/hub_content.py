"""What the sandbox's Hub holds: repositories, commits, branches and tags, with git's and LFS's own identifiers."""

import fnmatch
import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

GIT_ATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n"
    for suffix in ("bin", "gguf", "model", "msgpack", "onnx", "pt", "pth", "safetensors")
)
"""Which files the Hub keeps in LFS when a repository says nothing else (a part of the Hub's own default)."""

_EPOCH = 1_767_225_600
"""2026-01-01T00:00:00Z: commits are an hour apart from here on, so that their identifiers never change."""


@dataclass(frozen=True)
class HubFile:
    """One version of one file.

    Attributes:
        size: Bytes of the content.
        oid: Git blob SHA-1: of the content, or of its pointer if the file is in LFS.
        sha256: Hex digest of the content; empty unless the file is in LFS.
        content: The bytes, or the file that has them.
    """

    path: str
    size: int
    oid: str
    sha256: str
    content: bytes | Path

    @property
    def lfs(self) -> bool:
        """Whether the content is in LFS, and so comes from the file host."""
        return bool(self.sha256)

    @property
    def pointer_size(self) -> int:
        """Bytes of the LFS pointer."""
        return len(_pointer(self.sha256, self.size))

    def read(self) -> bytes:
        """The whole content."""
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


def hub_file(path: str, content: bytes | Path, *, lfs: bool) -> HubFile:
    """A file with its identifiers computed."""
    if isinstance(content, Path):
        size = content.stat().st_size
        with content.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256") if lfs else _blob_digest(size, stream.read())
    else:
        size = len(content)
        digest = hashlib.sha256(content) if lfs else _blob_digest(size, content)
    if not lfs:
        return HubFile(path, size, digest.hexdigest(), "", content)
    sha256 = digest.hexdigest()
    pointer = _pointer(sha256, size)
    return HubFile(path, size, _blob_digest(len(pointer), pointer).hexdigest(), sha256, content)


def _pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def _blob_digest(size: int, content: bytes) -> "hashlib._Hash":
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    digest.update(content)
    return digest


@dataclass(frozen=True)
class HubCommit:
    """One immutable state of a repository, and the commit before it (empty: none)."""

    sha: str
    title: str
    seconds: int
    files: Mapping[str, HubFile]
    directories: Mapping[str, str]
    parent: str = ""

    def below(self, folder: str, *, recursive: bool) -> list[HubFile | tuple[str, str]] | None:
        """Files and (directory, tree id) pairs below a folder, in git's order; None if there is no such folder."""
        if folder and folder not in self.directories:
            return None
        prefix = folder + "/" if folder else ""
        entries: dict[str, HubFile | tuple[str, str]] = {path: (path, oid) for path, oid in self.directories.items()}
        entries.update(self.files)
        inside = sorted(path for path in entries if path.startswith(prefix) and path != folder)
        return [entries[path] for path in inside if recursive or "/" not in path.removeprefix(prefix)]


class Repository:
    """A model repository: commits that never change, and branches and tags that move.

    Args:
        repo_id: ``organization/name``.
        gated: Files need a token whose user was granted access; metadata stays public, as on the Hub.
        private: Nobody without access learns that it exists.
        disabled: Taken down by the Hub.
    """

    def __init__(self, repo_id: str, *, gated: bool = False, private: bool = False, disabled: bool = False) -> None:
        self.repo_id = repo_id
        self.gated = gated
        self.private = private
        self.disabled = disabled
        self.commits: dict[str, HubCommit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}

    def commit(
        self,
        files: Mapping[str, bytes | Path | None],
        *,
        title: str = "Upload model",
        branch: str = "main",
        replace: bool = False,
    ) -> str:
        """Add a commit on top of a branch and move the branch to it.

        Args:
            files: Content by path; None removes the file.
            title: The commit's message.
            branch: Created if it does not exist.
            replace: Start from nothing instead of the branch's files.

        Returns:
            The commit's SHA-1.
        """
        parent = self.commits.get(self.branches.get(branch, ""))
        kept: dict[str, HubFile] = {} if parent is None or replace else dict(parent.files)
        if ".gitattributes" not in kept and ".gitattributes" not in files:
            files = {".gitattributes": GIT_ATTRIBUTES.encode(), **files}
        attributes = files.get(".gitattributes") or kept[".gitattributes"].content
        patterns = _lfs_patterns(attributes.read_bytes() if isinstance(attributes, Path) else attributes)
        for path, content in files.items():
            kept.pop(path, None)
            if content is not None:
                name = PurePosixPath(path).name
                lfs = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
                kept[path] = hub_file(path, content, lfs=lfs)
        directories, root = _trees(kept.values())
        seconds = _EPOCH + 3600 * len(self.commits)
        sha = _commit_sha(root, parent.sha if parent else "", seconds, f"{self.repo_id}: {title}")
        before = parent.sha if parent else ""
        self.commits[sha] = HubCommit(sha, title, seconds, dict(sorted(kept.items())), directories, before)
        self.branches[branch] = sha
        return sha

    def resolve(self, revision: str) -> HubCommit | None:
        """The commit behind a branch, tag, full reference name or SHA-1; None if there is none."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.branches.get(name) or self.tags.get(name) or revision
        return self.commits.get(sha)

    def history(self, commit: HubCommit) -> list[HubCommit]:
        """The commit and all before it, the newest first."""
        found = [commit]
        while (before := self.commits.get(found[-1].parent)) is not None:
            found.append(before)
        return found


class HubContent:
    """All repositories of one Hub. Safe to use from any thread; what is added lazily is made on first sight."""

    def __init__(self, repositories: Iterable[Repository] = ()) -> None:
        self._made = {repository.repo_id: repository for repository in repositories}
        self._lazy: dict[str, Callable[[], Repository]] = {}
        self._lock = threading.RLock()

    def add(self, repository: Repository) -> None:
        """Add or replace a repository."""
        with self._lock:
            self._made[repository.repo_id] = repository

    def add_lazy(self, repo_id: str, make: Callable[[], Repository]) -> None:
        """Add a repository that is made when it is first asked for."""
        with self._lock:
            self._lazy[repo_id] = make

    def remove(self, repo_id: str) -> None:
        """Delete a repository, as its owner could at any time."""
        with self._lock:
            self._made.pop(repo_id, None)
            self._lazy.pop(repo_id, None)

    def get(self, repo_id: str) -> Repository | None:
        """The repository of this name."""
        with self._lock:
            if repo_id in self._lazy:
                self._made[repo_id] = self._lazy.pop(repo_id)()
            return self._made.get(repo_id)

    def __getitem__(self, repo_id: str) -> Repository:
        found = self.get(repo_id)
        if found is None:
            raise KeyError(repo_id)
        return found

    @property
    def repo_ids(self) -> tuple[str, ...]:
        """Names of all repositories."""
        with self._lock:
            return tuple(sorted({*self._made, *self._lazy}))

    def commit(
        self, repo_id: str, files: Mapping[str, bytes | Path | None], *, title: str = "Update", branch: str = "main"
    ) -> str:
        """Add a commit to a repository, which is created if missing; see `Repository.commit`."""
        with self._lock:
            repository = self.get(repo_id)
            if repository is None:
                repository = Repository(repo_id)
                self.add(repository)
            return repository.commit(files, title=title, branch=branch)

    def move_revision(self, repo_id: str, revision: str, commit: str) -> None:
        """Point a branch or tag (made as a tag if new) at another commit of the repository."""
        with self._lock:
            repository = self[repo_id]
            if commit not in repository.commits:
                raise KeyError(commit)
            names = repository.branches if revision in repository.branches else repository.tags
            names[revision] = commit


def _lfs_patterns(attributes: bytes) -> list[str]:
    lines = (line.split() for line in attributes.decode().splitlines())
    return [words[0] for words in lines if len(words) > 1 and "filter=lfs" in words[1:]]


def _trees(files: Iterable[HubFile]) -> tuple[dict[str, str], str]:
    """Git tree ids of every directory, and of the root."""
    children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
    for file in files:
        path = PurePosixPath(file.path)
        folder = "" if str(path.parent) == "." else str(path.parent)
        children.setdefault(folder, {})[path.name] = ("100644", file.oid)
        for parent in path.parents:
            if str(parent) != ".":
                children.setdefault(str(parent), {})
    oids: dict[str, str] = {}
    for folder in sorted(children, key=lambda name: name.count("/") + bool(name), reverse=True):
        entries = children[folder]
        ordered = sorted(entries, key=lambda name: name + ("/" if entries[name][0] == "40000" else ""))
        body = b"".join(f"{entries[name][0]} {name}\0".encode() + bytes.fromhex(entries[name][1]) for name in ordered)
        oids[folder] = hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
        if folder:
            parent_name, _, name = folder.rpartition("/")
            children[parent_name][name] = ("40000", oids[folder])
    root = oids.pop("")
    return oids, root


def _commit_sha(tree: str, parent: str, seconds: int, message: str) -> str:
    who = f"Sandbox <sandbox@localhost> {seconds} +0000"
    lines = [
        f"tree {tree}",
        *([f"parent {parent}"] if parent else []),
        f"author {who}",
        f"committer {who}",
        "",
        message,
    ]
    body = ("\n".join(lines) + "\n").encode()
    return hashlib.sha1(b"commit %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
