"""Reading back, listing and pruning what a bucket holds."""

from datetime import UTC, datetime, timedelta

import pytest

from serving.models import MANIFEST_NAME, StagedModel
from staging.engine import stage
from staging.holder import this_process
from staging.inventory import inventory, plan_prune, prune
from staging.journal import JournalEntry, JournalUpload
from staging.manifest import find_staged
from staging.plan import plan
from staging.store import s3
from staging.verify import verify
from tests.staging.conftest import REPO, Place

WEIGHTS = "model-00001-of-00002.safetensors"


@pytest.fixture
def staged(place: Place) -> StagedModel:
    return stage(plan(place.pin(), place.hub, place.store)).staged


def put(place: Place, key: str, body: bytes) -> None:
    s3(place.store).put_object(Bucket="models", Key=key, Body=body)


def test_a_good_model_reads_back(place: Place, staged: StagedModel) -> None:
    report = verify(staged, place.store)
    assert report.ok
    assert report.read_bytes == staged.total_bytes


def test_every_kind_of_damage_is_found(place: Place, staged: StagedModel) -> None:
    content = bytearray(place.read(staged.prefix + WEIGHTS))
    content[8_400_000] ^= 1
    put(place, staged.prefix + WEIGHTS, bytes(content))
    put(place, staged.prefix + "config.json", b"{}")
    put(place, staged.prefix + "empty.txt", b"x")
    s3(place.store).delete_object(Bucket="models", Key=staged.prefix + "tokenizer.json")
    report = verify(staged, place.store)
    assert {bad.path: bad.problem for bad in report.bad} == {
        WEIGHTS: "sha256",
        "config.json": "size",
        "empty.txt": "size",
        "tokenizer.json": "missing",
    }


def test_the_inventory_lists_models_and_interrupted_runs(place: Place, staged: StagedModel) -> None:
    put(place, "staged/.staging/org/other/abc.json", JournalEntry(run="r", holder=None).model_dump_json().encode())
    found = inventory(place.store)
    assert [commit.name for commit in found.staged] == [f"{REPO}@{staged.model.commit}"]
    assert list(found.journals) == ["staged/.staging/org/other/abc.json"]


def test_pruning_keeps_what_is_used_and_what_is_newest(place: Place, staged: StagedModel) -> None:
    commits = [staged.model.commit]
    for number in range(3):
        place.hub_server.content.commit(REPO, {"config.json": b"{%d}" % number})
        commits.append(stage(plan(place.pin(), place.hub, place.store)).staged.model.commit)
    planned = plan_prune(place.store, {f"{REPO}@{commits[1]}"})
    assert {commit.name for commit in planned.commits} == {f"{REPO}@{commits[0]}", f"{REPO}@{commits[2]}"}
    before = place.objects()
    assert place.objects() == before, "planning removes nothing"
    prune(planned, place.store)
    left = {key.split("/")[3] for key in place.objects()}
    assert left == {commits[1], commits[3]}
    assert verify(stage(plan(place.pin(), place.hub, place.store)).staged, place.store).ok


def test_the_manifest_goes_first(place: Place, staged: StagedModel) -> None:
    since = len(place.s3_server.requests)
    prune(plan_prune(place.store, (), keep_newest=0), place.store)
    assert place.objects() == []
    assert find_staged(staged.model, place.store) is None
    deletes = [record for record in place.s3_server.requests[since:] if record.operation.startswith("DeleteObject")]
    assert min(deletes, key=lambda record: record.at).path.endswith(MANIFEST_NAME)


def test_only_old_uploads_below_the_prefix_are_pruned(place: Place) -> None:
    client = s3(place.store)
    client.create_multipart_upload(Bucket="models", Key=f"staged/{REPO}/abc/x.safetensors")
    client.create_multipart_upload(Bucket="models", Key="elsewhere/x")
    initiated = client.list_multipart_uploads(Bucket="models")["Uploads"][0]["Initiated"]
    for age, pruned in ((timedelta(days=6), 0), (timedelta(days=8), 1)):
        assert len(plan_prune(place.store, (), now=initiated + age).uploads) == pruned
    prune(plan_prune(place.store, (), now=initiated + timedelta(days=8)), place.store)
    assert place.s3_server.unfinished("models") == ["elsewhere/x"]


def test_an_upload_of_a_run_under_way_is_never_pruned(place: Place) -> None:
    client = s3(place.store)
    key = f"staged/{REPO}/abc/x.safetensors"
    upload_id = client.create_multipart_upload(Bucket="models", Key=key)["UploadId"]
    upload = JournalUpload(
        path="x.safetensors", key=key, upload_id=upload_id, checksum="CRC32", checked=True, part_size=8 << 20
    )
    entry = JournalEntry(run="r", holder=this_process(), uploads=(upload,))
    put(place, f"staged/.staging/{REPO}/abc.json", entry.model_dump_json().encode())
    planned = plan_prune(place.store, (), stale=timedelta(0))
    assert planned.uploads == ()
    assert planned.journals == ()


def test_what_an_interrupted_run_has_left_goes_when_it_is_old(place: Place, staged: StagedModel) -> None:
    """Only what this engine wrote: another program may name its objects likewise."""
    s3(place.store).delete_object(Bucket="models", Key=staged.prefix + MANIFEST_NAME)
    theirs = f"staged/their/things/{'a' * 40}/data.bin"
    put(place, theirs, b"theirs")
    assert plan_prune(place.store, []).remains == ()
    later = datetime.now(UTC) + timedelta(days=8)
    planned = plan_prune(place.store, [], now=later)
    assert [one.name for one in planned.remains] == [f"{REPO}@{staged.model.commit}"]
    assert planned.bytes == staged.total_bytes
    assert plan_prune(place.store, [f"{REPO}@{staged.model.commit}"], now=later).remains == ()
    prune(planned, place.store)
    assert [key for key in place.objects() if key.startswith("staged/")] == [theirs]


def test_a_commit_that_is_being_staged_is_not_pruned(place: Place, staged: StagedModel) -> None:
    journal = JournalEntry(run="r", holder=this_process()).model_dump_json().encode()
    put(place, f"staged/.staging/{REPO}/{staged.model.commit}.json", journal)
    assert plan_prune(place.store, [], keep_newest=0).commits == ()
