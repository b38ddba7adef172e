"""The journal is written often, so quickly; whatever goes wrong with that, it says the truth or the lease is lost."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError

from sandbox.faults import LoseAnswer, Reset, Status
from sandbox.s3 import internal_error
from serving.errors import StoreError
from staging.journal import Journal, JournalEntry, JournalUpload, LeaseLost, LeaseTimes, acquire, read
from staging.layout import journal_key
from staging.store import s3
from tests.staging.conftest import Place

UPLOADS = (JournalUpload(path="a", key="k", upload_id="1", checksum="CRC32", checked=True, part_size=8, parts=3),)


@pytest.fixture
def journal(place: Place) -> Journal:
    taken = acquire(place.pin(), place.store, LeaseTimes(), lambda: True)
    assert taken is not None
    return taken[0]


def kept(place: Place) -> JournalEntry:
    found = read(place.pin(), place.store)
    assert found is not None
    return found[0]


def test_a_write_is_one_request(place: Place, journal: Journal) -> None:
    before = len(place.s3_server.requests)
    for parts in (1, 2, 3):
        journal.write((UPLOADS[0].model_copy(update={"parts": parts}),))
    assert place.operations(before) == ["PutObject"] * 3
    assert kept(place) == journal.entry
    assert kept(place).beat == 3


@pytest.mark.parametrize(
    "fault",
    [LoseAnswer(), Reset(), Status(403), internal_error(), Status(503)],
    ids=["lost answer", "reset", "signed addresses refused", "500", "503"],
)
def test_a_write_that_fails_once_is_made_again(place: Place, journal: Journal, fault: LoseAnswer) -> None:
    place.s3_server.faults.add(fault, operation="PutObject")
    journal.write(UPLOADS)
    assert place.s3_server.faults.due == 0
    assert kept(place) == journal.entry
    assert kept(place).uploads == UPLOADS
    journal.write(())
    assert kept(place).uploads == ()


def test_a_store_that_refuses_for_good_is_told(place: Place, journal: Journal) -> None:
    place.s3_server.faults.add(Status(403), operation="PutObject", times=None)
    with pytest.raises(StoreError):
        journal.write(UPLOADS)


def test_credentials_that_cannot_be_renewed_are_told(place: Place) -> None:
    """By who issues them: botocore raises that as it is, also where an address is only signed."""

    def refuse() -> dict[str, str]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "not authorized"}}, "AssumeRole")

    owner, soon = place.s3_server.owner, datetime.now(UTC) + timedelta(hours=1)
    credentials = RefreshableCredentials(owner.access_key, owner.secret_key, None, soon, refuse, "assume-role")
    session = boto3.Session(region_name="us-east-1")
    session._session._credentials = credentials
    taken = acquire(place.pin(), place.store_as(owner, session=session), LeaseTimes(), lambda: True)
    assert taken is not None
    taken[0].write(UPLOADS)
    credentials._expiry_time = datetime.now(UTC)
    with pytest.raises(StoreError):
        taken[0].write(())
    assert kept(place).uploads == UPLOADS


def overwrite(place: Place) -> None:
    body = JournalEntry(run="other", holder=None).model_dump_json().encode()
    s3(place.store).put_object(Bucket="models", Key=journal_key("staged", place.pin()), Body=body)


def remove(place: Place) -> None:
    s3(place.store).delete_object(Bucket="models", Key=journal_key("staged", place.pin()))


@pytest.mark.parametrize("change", [overwrite, remove])
def test_a_journal_that_another_run_took_is_not_written(
    place: Place, journal: Journal, change: Callable[[Place], None]
) -> None:
    change(place)
    with pytest.raises(LeaseLost):
        journal.write(UPLOADS)
    found = read(place.pin(), place.store)
    assert found is None or found[0].run == "other"
