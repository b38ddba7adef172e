"""One private moto inside this process: S3 and STS as an application, apart from every other server's.

moto keeps its state in globals. A server gets an account of its own, and the buckets it makes are taken out of
moto's global list of names, so that servers side by side can each have a bucket of the same name.
"""

import io
import itertools
import os
from typing import Any
from urllib.parse import unquote_to_bytes

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeBucket, FakeKey, FakeMultipart, s3_backends
from werkzeug.test import run_wsgi_app

from sandbox.http_messages import Request, Response

_NUMBERS = itertools.count(1)


class _Untracked(list[Any]):
    def append(self, item: Any, /) -> None:
        """Keeps nothing."""


for _kind in (FakeBucket, FakeKey, FakeMultipart):
    # moto keeps all that it ever made, for a reset that nothing here asks for: every part of every upload, up to 16 MiB
    # of each in memory, would live as long as the process (moto 5.1, moto.core.common_models.BaseModel).
    _kind.instances_tracked = _Untracked()  # type: ignore[union-attr]


class Moto:
    """One account of moto's."""

    def __init__(self) -> None:
        self.account = str(100_000_000_000 + (os.getpid() % 10_000_000) * 1000 + next(_NUMBERS))
        self._application = DomainDispatcherApplication(create_backend_app)
        self._backend = s3_backends[self.account]["aws"]

    def __call__(self, request: Request) -> Response:
        """Let moto answer the request."""
        environ = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
            "QUERY_STRING": request.raw_query,
            "RAW_URI": request.path + (f"?{request.raw_query}" if request.raw_query else ""),
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": request.headers.get("Host", "").rpartition(":")[2] or "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "HTTP_X_MOTO_ACCOUNT_ID": self.account,
            "CONTENT_LENGTH": str(len(request.body)),
        }
        environ["REQUEST_URI"] = environ["RAW_URI"]
        for name, value in request.headers.items():
            if name == "Content-Type":
                environ["CONTENT_TYPE"] = value
            elif name != "Content-Length":
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        chunks, status, headers = run_wsgi_app(self._application, environ, buffered=True)
        for name in list(self._backend.buckets):
            s3_backends.bucket_accounts.pop(name, None)
        return Response(int(status.split()[0]), dict(headers), b"".join(chunks))

    def bucket(self, name: str) -> FakeBucket | None:
        """The bucket; None if there is none of this name."""
        return self._backend.buckets.get(name)

    def region(self, name: str) -> str | None:
        """Region of a bucket; None if there is no such bucket."""
        found = self.bucket(name)
        return None if found is None else str(found.region_name)

    def create_bucket(self, name: str, region: str) -> None:
        """Make an empty bucket."""
        self._backend.create_bucket(name, region)
        s3_backends.bucket_accounts.pop(name, None)

    def remove_bucket(self, name: str) -> None:
        """Drop a bucket with all that is in it, finished or not."""
        self._backend.buckets.pop(name, None)

    def object(self, bucket: str, key: str) -> FakeKey | None:
        """The newest version of an object."""
        found = self.bucket(bucket)
        return None if found is None else found.keys.get(key)

    def upload(self, bucket: str, upload_id: str) -> FakeMultipart | None:
        """An unfinished multipart upload."""
        found = self.bucket(bucket)
        return None if found is None else found.multiparts.get(upload_id)

    def close(self) -> None:
        """Forget the account."""
        self._backend.buckets.clear()
        s3_backends.pop(self.account, None)
