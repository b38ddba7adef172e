"""Files read through the real hf_xet, from a Xet storage on this machine's disk."""

import http.client
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from hf_xet import XetSession
from pydantic import SecretStr

from serving.errors import HubError
from serving.models import ModelSource
from staging.engine import stage
from staging.hub import HubAccess, pin
from staging.plan import plan
from staging.xet import Transport
from tests.staging.conftest import MIB, QUICK, Place, noise

WEIGHTS = "model.safetensors"
CONTENT = noise(19 * MIB + 3, 51)


def xet_hub(hub: str, storage: Path) -> ThreadingHTTPServer:
    """The sandbox's Hub, whose weights are stored with Xet: never given by HTTP."""
    endpoint = f"local://{storage}"
    commit = XetSession().new_upload_commit(endpoint=endpoint)
    commit.start_upload_bytes(CONTENT, name=WEIGHTS)
    (uploaded,) = commit.wait_to_finish().uploads.values()

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/xet-read-token/" in self.path:
                expires = str(int(time.time()) + 3600)
                headers = {"X-Xet-Cas-Url": endpoint, "X-Xet-Access-Token": "t", "X-Xet-Token-Expiration": expires}
                self.answer(200, headers, b"{}")
                return
            upstream = http.client.HTTPConnection(urlsplit(hub).netloc)
            upstream.request(self.command, self.path, headers={**dict(self.headers), "Accept-Encoding": "identity"})
            found = upstream.getresponse()
            body = found.read()
            if "/tree/" in self.path:
                entries = json.loads(body)
                for entry in entries:
                    if entry["path"] == WEIGHTS:
                        entry["xetHash"] = uploaded.xet_info.hash
                body = json.dumps(entries).encode()
            kept = {name: value for name, value in found.headers.items() if name.lower() != "content-length"}
            self.answer(found.status, kept, body)

        do_HEAD = do_GET

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Proxy)


@pytest.fixture
def hub(place: Place, tmp_path: Path) -> Iterator[HubAccess]:
    place.hub_server.content.commit("org/xet", {WEIGHTS: CONTENT, "config.json": b"{}"})
    server = xet_hub(place.hub_server.url, tmp_path)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield HubAccess(f"http://127.0.0.1:{server.server_port}", SecretStr(place.hub_server.token))
    server.shutdown()
    server.server_close()
    thread.join()


def test_xet_files_come_through_xet_and_the_others_by_http(place: Place, hub: HubAccess) -> None:
    model = pin(ModelSource(repo_id="org/xet"), hub)
    result = stage(plan(model, hub, place.store), transport=Transport.XET)
    assert place.read(result.staged.prefix + WEIGHTS) == CONTENT
    assert place.read(result.staged.prefix + "config.json") == b"{}"
    assert place.hub_server.file_requests == [], "no byte of the weights came by HTTP"


def test_auto_reads_the_same_file_by_http(place: Place, hub: HubAccess) -> None:
    result = stage(plan(pin(ModelSource(repo_id="org/xet"), hub), hub, place.store))
    assert place.read(result.staged.prefix + WEIGHTS) == CONTENT
    assert place.hub_server.file_requests


def test_a_hub_without_xet_storage_is_said(place: Place, hub: HubAccess) -> None:
    planned = plan(pin(ModelSource(repo_id="org/xet"), hub), hub, place.store)
    elsewhere = HubAccess(place.hub_server.url, hub.token)
    with pytest.raises(HubError) as raised:
        stage(type(planned)(**{**vars(planned), "hub": elsewhere}), transport=Transport.XET, patience=QUICK)
    assert raised.value.code == "hub.unreachable"
    assert "Xet" in str(raised.value)
