"""The Hub's HTTP API as a function of its content: what the huggingface_hub client (2.4) asks for.

Statuses, error codes and texts follow the Hub: metadata of a gated repository is public and its files are not; a
private repository and a missing one look alike; an unknown token is refused everywhere.
"""

import gzip
import json
import re
import time
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urlencode

from sandbox.http_messages import Request, Response
from sandbox.hub_content import HubCommit, HubContent, HubFile, Repository
from sandbox.hub_users import HubUser

_RATE = {"RateLimit": '"resolvers";r=2999;t=172', "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300'}
_TEXT = {".json": "application/json", ".md": "text/markdown", ".txt": "text/plain", ".jinja": "text/plain"}


class _Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, code: str = "", commit: str = "") -> None:
        super().__init__(message)
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Error-Message": message}
        headers |= {"X-Error-Code": code} if code else {}
        headers |= {"X-Repo-Commit": commit} if commit else {}
        self.response = Response(status, headers, json.dumps({"error": message}).encode())


class HubApi:
    """Answers the API's requests.

    Args:
        content: The repositories.
        users: Everyone who has a token.
        sign: Gives the file host's signed address of an LFS file.
        page_size: Entries on one page of a tree listing.
    """

    def __init__(
        self, content: HubContent, users: Iterable[HubUser], sign: Callable[[HubFile], str], *, page_size: int
    ) -> None:
        self.content = content
        self.users = {user.token: user for user in users}
        self.sign = sign
        self.page_size = page_size

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        try:
            user = self._user(request)
            for pattern, method in _ROUTES:
                if found := pattern.fullmatch(request.path):
                    return method(
                        self, request, user, {name: unquote(text) for name, text in found.groupdict("").items()}
                    )
            raise _Refusal(404, "Sorry, we can't find the page you are looking for.")
        except _Refusal as refusal:
            return refusal.response

    def _user(self, request: Request) -> HubUser | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        user = self.users.get(token.strip())
        if scheme.lower() != "bearer" or user is None:
            raise _Refusal(401, "Invalid credentials in Authorization header")
        if user.expired:
            raise _Refusal(401, f'User Access Token "{user.name}" is expired')
        return user

    def _repository(self, user: HubUser | None, parts: dict[str, str]) -> Repository:
        repository = self.content.get(parts["repo"])
        namespace = parts["repo"].partition("/")[0]
        if repository is None or (repository.private and not (user and namespace in user.namespaces)):
            if user is None:  # the code tells a client by plain HTTP what it concludes from an https address
                raise _Refusal(401, "Invalid username or password.", "RepoNotFound")
            raise _Refusal(404, "Repository not found", "RepoNotFound")
        if repository.disabled:
            raise _Refusal(403, "Access to this resource is disabled.")
        return repository

    def _commit(self, repository: Repository, revision: str) -> HubCommit:
        commit = repository.resolve(revision)
        if commit is None:
            raise _Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def _granted(self, user: HubUser | None, repository: Repository) -> None:
        name = repository.repo_id
        if not repository.gated or (user and user.grants & {"*", name}):
            return
        if user is None:
            raise _Refusal(
                401,
                f"Access to model {name} is restricted. You must have access to it and be authenticated to access it."
                " Please log in.",
                "GatedRepo",
            )
        raise _Refusal(
            403,
            f"Access to model {name} is restricted and you are not in the authorized list."
            f" Visit https://huggingface.co/{name} to ask for access.",
            "GatedRepo",
        )

    def whoami(self, _request: Request, user: HubUser | None, _parts: dict[str, str]) -> Response:
        """``GET /api/whoami-v2``: whose token it is."""
        if user is None:
            raise _Refusal(401, "Invalid username or password.")
        token = {"displayName": user.name, "role": "read", "createdAt": _moment(0)}
        return _json(
            {
                "type": "user",
                "id": user.name,
                "name": user.name,
                "fullname": user.name,
                "isPro": False,
                "orgs": [{"type": "org", "name": name} for name in sorted(user.namespaces)],
                "auth": {"type": "access_token", "accessToken": token},
            }
        )

    def auth_check(self, _request: Request, user: HubUser | None, parts: dict[str, str]) -> Response:
        """``GET /api/models/{repo}/auth-check``: whether the files may be read."""
        self._granted(user, self._repository(user, parts))
        return _json({})

    def info(self, request: Request, user: HubUser | None, parts: dict[str, str]) -> Response:
        """``GET /api/models/{repo}[/revision/{revision}]``."""
        repository = self._repository(user, parts)
        commit = self._commit(repository, parts.get("revision") or "main")
        blobs = request.parameter("blobs").lower() in ("1", "true")
        return _json(
            {
                "_id": commit.sha[:24],
                "id": repository.repo_id,
                "modelId": repository.repo_id,
                "author": repository.repo_id.partition("/")[0],
                "sha": commit.sha,
                "lastModified": _moment(commit.seconds),
                "createdAt": _moment(min(one.seconds for one in repository.commits.values())),
                "private": repository.private,
                "gated": "manual" if repository.gated else False,
                "disabled": repository.disabled,
                "downloads": 0,
                "likes": 0,
                "tags": ["transformers", "safetensors"],
                "library_name": "transformers",
                "pipeline_tag": "text-generation",
                "usedStorage": sum(file.size for file in commit.files.values() if file.lfs),
                "siblings": [_sibling(file, blobs=blobs) for file in commit.files.values()],
            }
        )

    def tree(self, request: Request, user: HubUser | None, parts: dict[str, str]) -> Response:
        """``GET /api/models/{repo}/tree/{revision}[/{folder}]``, page by page."""
        repository = self._repository(user, parts)
        commit = self._commit(repository, parts["revision"])
        recursive = request.parameter("recursive", request.parameter("recurse")).lower() in ("1", "true")
        entries = commit.below(parts["folder"].strip("/"), recursive=recursive)
        if entries is None:
            raise _Refusal(404, f'{parts["folder"]} does not exist on "{parts["revision"]}"', "EntryNotFound")
        start = int(request.parameter("cursor") or 0)
        limit = min(int(request.parameter("limit") or self.page_size), self.page_size)
        headers = {}
        if start + limit < len(entries):
            query = {name: values[0] for name, values in request.query.items()} | {"cursor": str(start + limit)}
            host = request.headers.get("Host", "")
            headers["Link"] = f'<http://{host}{request.path}?{urlencode(query)}>; rel="next"'
        return _json([_entry(entry) for entry in entries[start : start + limit]], headers)

    def paths_info(self, request: Request, user: HubUser | None, parts: dict[str, str]) -> Response:
        """``POST /api/models/{repo}/paths-info/{revision}``: the entries that exist of those named."""
        commit = self._commit(self._repository(user, parts), parts["revision"])
        if request.headers.get("Content-Type", "").startswith("application/json"):
            paths = json.loads(request.body)["paths"]
        else:
            paths = [value for name, value in parse_qsl(request.body.decode()) if name == "paths"]
        found = [commit.files.get(path) or (path, commit.directories.get(path, "")) for path in paths]
        return _json([_entry(entry) for entry in found if isinstance(entry, HubFile) or entry[1]])

    def refs(self, request: Request, user: HubUser | None, parts: dict[str, str]) -> Response:
        """``GET /api/models/{repo}/refs``."""
        repository = self._repository(user, parts)

        def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in names.items()]

        answer = {
            "branches": listed("heads", repository.branches),
            "converts": [],
            "tags": listed("tags", repository.tags),
        }
        return _json(answer | ({"pullRequests": []} if request.parameter("include_prs") else {}))

    def commits(self, request: Request, user: HubUser | None, parts: dict[str, str]) -> Response:
        """``GET /api/models/{repo}/commits/{revision}``: the newest first, page by page."""
        repository = self._repository(user, parts)
        history = repository.history(self._commit(repository, parts["revision"]))
        page, limit = int(request.parameter("p") or 0), min(int(request.parameter("limit") or 50), 1000)
        headers = {"X-Total-Count": str(len(history))}
        if (page + 1) * limit < len(history):
            query = {name: values[0] for name, values in request.query.items()} | {"p": str(page + 1)}
            host = request.headers.get("Host", "")
            headers["Link"] = f'<http://{host}{request.path}?{urlencode(query)}>; rel="next"'
        described = [
            {
                "id": one.sha,
                "title": one.title,
                "message": "",
                "authors": [{"user": "sandbox", "avatar": ""}],
                "date": _moment(one.seconds),
            }
            for one in history[page * limit : (page + 1) * limit]
        ]
        return _json(described, headers)

    def resolve(self, request: Request, user: HubUser | None, parts: dict[str, str]) -> Response:
        """``GET|HEAD /{repo}/resolve/{revision}/{file}``: a redirect to where the content is."""
        repository = self._repository(user, parts)
        self._granted(user, repository)
        commit = self._commit(repository, parts["revision"])
        file = self._file(commit, parts["file"])
        headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes", "Vary": "Origin, Accept", **_RATE}
        if file.lfs:
            headers |= {
                "X-Linked-Size": str(file.size),
                "X-Linked-ETag": f'"{file.sha256}"',
                "ETag": f'"{file.oid}"',
                "Location": self.sign(file),
            }
            return Response(302, headers)
        path = f"/api/resolve-cache/models/{repository.repo_id}/{commit.sha}/{quote(file.path)}"
        query = urlencode({unquote(request.path): "", "etag": f'"{file.oid}"'})
        headers["Location"] = f"{path}?{query}"
        return Response(307, headers)

    def resolve_cache(self, request: Request, user: HubUser | None, parts: dict[str, str]) -> Response:
        """``GET|HEAD /api/resolve-cache/models/{repo}/{commit}/{file}``: a small file, compressed if asked for."""
        repository = self._repository(user, parts)
        self._granted(user, repository)
        commit = self._commit(repository, parts["revision"])
        file = self._file(commit, parts["file"])
        kind = _TEXT.get(PurePosixPath(file.path).suffix, "text/plain")
        name = PurePosixPath(file.path).name
        headers = {
            "X-Repo-Commit": commit.sha,
            "ETag": f'"{file.oid}"',
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{name}\";",
        }
        if request.method == "GET" and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers |= {"Content-Encoding": "gzip", "ETag": f'W/"{file.oid}"', "Vary": "Accept-Encoding"}
            return Response(200, headers, gzip.compress(file.read(), mtime=0))
        return Response(200, headers, file.content, ranged=True)

    def _file(self, commit: HubCommit, path: str) -> HubFile:
        file = commit.files.get(path)
        if file is None:
            raise _Refusal(404, "Entry not found", "EntryNotFound", commit.sha)
        return file


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_ROUTES: tuple[tuple[re.Pattern[str], Callable[..., Response]], ...] = tuple(
    (re.compile(pattern), method)
    for pattern, method in (
        (r"/api/whoami-v2", HubApi.whoami),
        (rf"/api/resolve-cache/models/{_REPO}/(?P<revision>[^/]+)/(?P<file>.+)", HubApi.resolve_cache),
        (rf"/api/models/{_REPO}/auth-check", HubApi.auth_check),
        (rf"/api/models/{_REPO}/refs", HubApi.refs),
        (rf"/api/models/{_REPO}/commits/(?P<revision>[^/]+)", HubApi.commits),
        (rf"/api/models/{_REPO}/paths-info/(?P<revision>[^/]+)", HubApi.paths_info),
        (rf"/api/models/{_REPO}/tree/(?P<revision>[^/]+)(?P<folder>/.*)?", HubApi.tree),
        (rf"/api/models/{_REPO}(/revision/(?P<revision>[^/]+))?", HubApi.info),
        (rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", HubApi.resolve),
    )
)


def _json(data: object, headers: dict[str, str] | None = None) -> Response:
    return Response(
        200, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, json.dumps(data).encode()
    )


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def _sibling(file: HubFile, *, blobs: bool) -> dict[str, object]:
    if not blobs:
        return {"rfilename": file.path}
    entry: dict[str, object] = {"rfilename": file.path, "size": file.size, "blobId": file.oid}
    if file.lfs:
        entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return entry


def _entry(entry: HubFile | tuple[str, str]) -> dict[str, object]:
    if isinstance(entry, tuple):
        return {"type": "directory", "oid": entry[1], "size": 0, "path": entry[0]}
    described: dict[str, object] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": entry.path}
    if entry.lfs:
        described["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return described
