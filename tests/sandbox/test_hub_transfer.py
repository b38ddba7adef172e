"""What the wire does on the sandbox's Hub: ranges, signed addresses, compression, faults."""

import gzip
import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox.faults import FlipBit, LoseAnswer, Reset, Slow, Stall, Status, Truncate
from sandbox.hub import HubServer, serve_hub
from sandbox.hub_content import HubContent, Repository

WEIGHTS = bytes(range(251)) * 4000


@pytest.fixture(params=["memory", "file"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HubServer]:
    (tmp_path / "weights").write_bytes(WEIGHTS)
    model = Repository("org/model")
    content = WEIGHTS if request.param == "memory" else tmp_path / "weights"
    model.commit({"config.json": b'{"a": 1}', "model.safetensors": content})
    with serve_hub(HubContent([model])) as server:
        yield server


def get(url: str, method: str = "GET", timeout: float = 10, **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def address(hub: HubServer) -> str:
    return get(f"{hub.url}/org/model/resolve/main/model.safetensors")[1]["location"]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=999990-", 999_990, None), ("bytes=-7", -7, None)],
)
def test_ranges(hub: HubServer, asked: str, start: int, end: int | None) -> None:
    status, headers, body = get(address(hub), Range=asked)
    assert (status, body) == (206, WEIGHTS[start:end])
    assert headers["content-range"].endswith(f"/{len(WEIGHTS)}")


def test_ranges_that_cannot_be(hub: HubServer) -> None:
    url = address(hub)
    status, headers, _ = get(url, Range=f"bytes={len(WEIGHTS)}-")
    assert (status, headers["content-range"]) == (416, f"bytes */{len(WEIGHTS)}")
    for ignored in ("bytes=5-2", "bytes=1-2,4-5", "items=0-1"):
        assert get(url, Range=ignored)[0] == 200


def test_head_has_the_size_and_no_body(hub: HubServer) -> None:
    status, headers, body = get(address(hub), "HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(WEIGHTS)), b"")


def test_addresses_expire_and_cannot_be_made_up(hub: HubServer) -> None:
    url = address(hub)
    assert get(url)[0] == 200
    hub.expire_urls()
    status, _, body = get(url)
    assert (status, b"AccessDenied" in body) == (403, True)
    assert get(address(hub))[0] == 200
    hub.url_seconds = -1
    assert get(address(hub))[0] == 403
    assert get(f"{hub.file_url}/repos/00/00/{'0' * 64}/x?Expires=9999999999&Signature=0")[0] == 403


def test_small_files_are_redirected_and_compressed_on_request(hub: HubServer) -> None:
    status, headers, _ = get(f"{hub.url}/org/model/resolve/main/config.json")
    assert status == 307
    assert headers["location"].startswith("/api/resolve-cache/models/org/model/")
    url = hub.url + headers["location"]
    plain, packed = get(url), get(url, **{"Accept-Encoding": "gzip"})
    assert plain[2] == gzip.decompress(packed[2]) == b'{"a": 1}'
    assert packed[1]["etag"] == "W/" + plain[1]["etag"]


def test_a_status_for_as_many_requests_as_ordered(hub: HubServer) -> None:
    hub.faults.add(Status(429, {"Retry-After": "1"}), path="/api/models/*", times=2)
    answers = [get(f"{hub.url}/api/models/org/model") for _ in range(3)]
    assert [status for status, _, _ in answers] == [429, 429, 200]
    assert answers[0][1]["retry-after"] == "1"
    assert hub.faults.due == 0


def test_content_that_ends_too_early(hub: HubServer) -> None:
    hub.file_faults.add(Truncate(at=500_000))
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(address(hub))
    assert caught.value.partial == WEIGHTS[:500_000]
    assert hub.file_requests[-1].sent == 500_000
    assert get(address(hub))[2] == WEIGHTS


def test_a_fault_waits_for_the_range_that_holds_its_byte(hub: HubServer) -> None:
    hub.file_faults.add(FlipBit(at=600_000, bit=3))
    url = address(hub)
    assert get(url, Range="bytes=0-599999")[2] == WEIGHTS[:600_000]
    broken = get(url, Range="bytes=600000-600009")[2]
    assert broken == bytes([WEIGHTS[600_000] ^ 8]) + WEIGHTS[600_001:600_010]
    assert get(url)[2] == WEIGHTS


@pytest.mark.parametrize("at", [-1, 400_000])
def test_reset(hub: HubServer, at: int) -> None:
    url = address(hub)
    hub.file_faults.add(Reset(at=at))
    with pytest.raises(ConnectionResetError):
        get(url)
    assert get(url)[2] == WEIGHTS


def test_an_answer_that_is_lost_was_still_worked_out(hub: HubServer) -> None:
    hub.faults.add(LoseAnswer())
    with pytest.raises(ConnectionError):
        get(f"{hub.url}/api/models/org/model")
    assert hub.requests[-1].status == 0


def test_stall_before_the_headers_and_within_the_content(hub: HubServer) -> None:
    for at in (-1, 1000):
        url = address(hub)
        hub.file_faults.add(Stall(seconds=30, at=at))
        with pytest.raises(TimeoutError):
            get(url, timeout=0.2)


def test_slow_limits_each_connection(hub: HubServer) -> None:
    hub.file_faults.add(Slow(bytes_per_second=2_000_000), times=None)
    url, began = address(hub), time.monotonic()
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(get(url)[2])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [WEIGHTS] * 4
    assert time.monotonic() - began > 0.9 * len(WEIGHTS) / 2_000_000


def test_closing_cuts_what_is_under_way(tmp_path: Path) -> None:
    model = Repository("org/model")
    model.commit({"model.safetensors": WEIGHTS})
    failures: list[Exception] = []

    def download(url: str) -> None:
        try:
            get(url)
        except (OSError, http.client.HTTPException) as error:
            failures.append(error)

    with serve_hub(HubContent([model])) as hub:
        hub.file_faults.add(Stall(seconds=60, at=10))
        thread = threading.Thread(target=download, args=(address(hub),))
        thread.start()
        while hub.file_faults.due:
            time.sleep(0.01)
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert failures
