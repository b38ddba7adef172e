"""Each fault of the wire, injected: the model arrives byte-exact, or the run ends with that fault's own error."""

import time
from collections.abc import Callable
from dataclasses import replace

import boto3
import pytest

from sandbox.faults import FlipBit, LoseAnswer, Reset, Slow, Stall, Status, Truncate
from sandbox.s3 import internal_error, slow_down
from serving.errors import HubError, InferenceError, StoreError
from serving.models import MANIFEST_NAME
from staging.engine import StageResult, stage
from staging.journal import read
from staging.plan import plan
from staging.retry import Patience
from tests.staging.conftest import MIB, QUICK, Place, noise

SHORT = Patience(seconds=0.8, first_wait_seconds=0.02, longest_wait_seconds=0.1, stall_seconds=2.0)
WEIGHTS = "model.safetensors"
FILES = {WEIGHTS: noise(9 * MIB + 5, 21), "config.json": b"{}", "vocab.txt": noise(300_000, 22)}


@pytest.fixture
def faulty(place: Place) -> Place:
    place.hub_server.content.commit("org/faulty", FILES)
    return place


def run(place: Place, patience: Patience = QUICK) -> StageResult:
    return stage(plan(place.pin("org/faulty"), place.hub, place.store), patience=patience)


def arrives(place: Place) -> StageResult:
    result = run(place)
    for path, content in FILES.items():
        assert place.read(result.staged.prefix + path) == content
    assert place.s3_server.unfinished("models") == []
    return result


HUB_FAULTS: dict[str, Callable[[Place], None]] = {
    "500 of the file host": lambda place: place.hub_server.file_faults.add(Status(500), times=3),
    "503 of the Hub for a small file": lambda place: place.hub_server.faults.add(
        Status(503), path="*vocab.txt", method="GET", times=2
    ),
    "reset before the answer": lambda place: place.hub_server.file_faults.add(Reset(), times=2),
    "reset in the body": lambda place: place.hub_server.file_faults.add(Reset(at=8 * MIB + 9), times=2),
    "truncated body": lambda place: place.hub_server.file_faults.add(Truncate(at=5 * MIB + 3), times=2),
    "truncated small file": lambda place: place.hub_server.faults.add(Truncate(at=10), path="*vocab.txt", times=2),
}
WRONG_BYTES: dict[str, Callable[[Place], None]] = {
    "stalled connection": lambda place: place.hub_server.file_faults.add(Stall(5, at=3 * MIB)),
    "flipped bit in the weights": lambda place: place.hub_server.file_faults.add(FlipBit(at=9 * MIB - 1)),
    "flipped bit in a small file": lambda place: place.hub_server.faults.add(
        FlipBit(at=70), path="*vocab.txt", method="GET"
    ),
}
PART_FAULTS: dict[str, Callable[[Place], None]] = {
    "S3 SlowDown": lambda place: place.s3_server.faults.add(slow_down(), operation="UploadPart", times=3),
    "S3 500 for a part": lambda place: place.s3_server.faults.add(internal_error(), operation="UploadPart", times=2),
    "lost answer of a part": lambda place: place.s3_server.faults.add(LoseAnswer(), operation="UploadPart"),
    "S3 reset": lambda place: place.s3_server.faults.add(Reset(), operation="UploadPart", times=2),
}
STORE_FAULTS: dict[str, Callable[[Place], None]] = {
    "S3 SlowDown at Create": lambda place: place.s3_server.faults.add(slow_down(), operation="CreateMultipartUpload"),
    "S3 500 at Complete": lambda place: place.s3_server.faults.add(
        internal_error(), operation="CompleteMultipartUpload"
    ),
    "lost answer of Complete": lambda place: place.s3_server.faults.add(
        LoseAnswer(), operation="CompleteMultipartUpload"
    ),
    "S3 SlowDown for a small file": lambda place: place.s3_server.faults.add(
        slow_down(), path="*vocab.txt", operation="PutObject"
    ),
    "lost answer of the journal": lambda place: place.s3_server.faults.add(
        LoseAnswer(), path="*/.staging/*", operation="PutObject"
    ),
    "S3 500 for the manifest": lambda place: place.s3_server.faults.add(
        internal_error(), path=f"*{MANIFEST_NAME}", method="PUT"
    ),
}


GROUPS = {"hub": HUB_FAULTS, "wrong bytes": WRONG_BYTES, "parts": PART_FAULTS, "store": STORE_FAULTS}
FAULTS = {name: order for group in GROUPS.values() for name, order in group.items()}


def overcomes(place: Place, *orders: Callable[[Place], None]) -> None:
    for order in orders:
        order(place)
    arrives(place)
    due = place.hub_server.file_faults.due + place.hub_server.faults.due + place.s3_server.faults.due
    assert due == 0, "every fault did happen"


@pytest.mark.parametrize("group", GROUPS)
def test_faults_that_pass_are_overcome_together(faulty: Place, group: str) -> None:
    overcomes(faulty, *GROUPS[group].values())


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_overcome(faulty: Place, fault: str) -> None:
    overcomes(faulty, FAULTS[fault])


def test_retry_after_is_obeyed(faulty: Place) -> None:
    faulty.hub_server.file_faults.add(Status(429, {"Retry-After": "1"}), times=1)
    started = time.monotonic()
    arrives(faulty)
    assert time.monotonic() - started >= 1


def test_expired_addresses_are_resolved_again(faulty: Place) -> None:
    faulty.hub_server.url_seconds = 0.2
    faulty.hub_server.file_faults.add(Reset(at=8 * MIB + 9), times=2)
    arrives(faulty)


def test_an_address_that_expires_half_way_costs_no_byte_twice(faulty: Place) -> None:
    planned = plan(faulty.pin("org/faulty"), faulty.hub, faulty.store)
    faulty.hub_server.file_faults.add(Reset(at=8 * MIB + 9))
    faulty.hub_server.expire_urls()
    result = stage(planned, patience=QUICK)
    assert result.moved_bytes == result.staged.total_bytes


def ends(place: Place, kind: type[InferenceError], code: str, patience: Patience = SHORT) -> InferenceError:
    with pytest.raises(kind) as raised:
        run(place, patience)
    assert raised.value.code == code, raised.value
    assert raised.value.fix
    keys = place.objects()
    assert not any(key.endswith((WEIGHTS, MANIFEST_NAME)) for key in keys), "nothing partial is visible"
    return raised.value


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (Status(503), "hub.unreachable"),
        (Reset(), "hub.unreachable"),
        (Status(429), "hub.rate_limited"),
        (Status(403), "hub.file_refused"),
    ],
)
def test_a_hub_that_stays_away_ends_the_run(faulty: Place, order: Status | Reset, code: str) -> None:
    faulty.hub_server.file_faults.add(order, times=None)
    ends(faulty, HubError, code)
    assert "CreateMultipartUpload" not in faulty.operations(), "an upload is made when there is something to store"


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("UploadPart", "store.unavailable"),
        pytest.param("CompleteMultipartUpload", "store.unavailable", marks=pytest.mark.long),  # boto3's own patience
    ],
)
def test_a_store_that_stays_overloaded_ends_the_run(faulty: Place, operation: str, code: str) -> None:
    faulty.s3_server.faults.add(slow_down(), operation=operation, times=None)
    ends(faulty, StoreError, code)


def test_a_stalled_store_ends_the_run(faulty: Place) -> None:
    faulty.s3_server.faults.add(Stall(30), operation="UploadPart", times=None)
    ends(faulty, StoreError, "store.unreachable", replace(SHORT, stall_seconds=0.5))


def test_a_bucket_that_vanishes_ends_the_run(faulty: Place) -> None:
    planned = plan(faulty.pin("org/faulty"), faulty.hub, faulty.store)
    gone: list[bool] = []

    def remove(_: object) -> None:
        if not gone:
            faulty.s3_server.remove_bucket("models")
            gone.append(True)

    faulty.hub_server.file_faults.add(Stall(0.6, at=7 * MIB))
    with pytest.raises(StoreError) as raised:
        stage(planned, progress=remove, patience=QUICK)
    assert raised.value.code == "store.bucket_missing"


def test_credentials_that_expire_half_way_end_the_run(faulty: Place) -> None:
    owner = faulty.s3_server.owner
    sts = boto3.client(
        "sts",
        endpoint_url=faulty.s3_server.url,
        region_name="us-east-1",
        aws_access_key_id=owner.access_key,
        aws_secret_access_key=owner.secret_key,
    )
    got = sts.get_session_token()["Credentials"]
    session = boto3.Session(
        aws_access_key_id=got["AccessKeyId"],
        aws_secret_access_key=got["SecretAccessKey"],
        aws_session_token=got["SessionToken"],
        region_name="us-east-1",
    )
    faulty.hub_server.content.commit("org/faulty", {"second.safetensors": noise(26 * MIB, 23)})
    model = faulty.pin("org/faulty")
    planned = plan(model, faulty.hub, faulty.store_as(owner, session=session))
    faulty.hub_server.file_faults.add(Slow(6 * MIB), times=None)

    def expire(_: object) -> None:
        found = read(model, faulty.store)
        if found is not None and any(upload.parts for upload in found[0].uploads):
            faulty.s3_server.expire_sessions()

    with pytest.raises(StoreError) as raised:
        stage(planned, progress=expire, patience=QUICK, memory_budget=4 * MIB)
    faulty.hub_server.file_faults.clear()
    assert raised.value.code == "store.expired_credentials"
    assert got["SecretAccessKey"] not in str(raised.value)
    assert not any(key.endswith(MANIFEST_NAME) for key in faulty.objects())
    result = arrives(faulty)
    assert result.reused_bytes >= 8 * MIB, "what was stored before is not moved again"
