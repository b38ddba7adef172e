"""Runs that end early, and runs at the same time: nothing is lost, moved twice or mixed."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.faults import Slow, Stall, Status
from serving.errors import HubError
from serving.models import MANIFEST_NAME
from staging.engine import StageResult, stage
from staging.holder import this_process
from staging.journal import JournalEntry, JournalUpload, LeaseTimes, read
from staging.keeper import UNRECORDED
from staging.layout import journal_key
from staging.parts import MIN_PART
from staging.plan import plan
from staging.progress import StageProgress
from staging.store import s3
from tests.staging.conftest import MIB, QUICK, Place, noise

ROOT = Path(__file__).parents[2]
QUICK_LEASE = LeaseTimes(beat_seconds=0.2, dead_seconds=1.0, poll_seconds=0.05)
BUDGET = 8 * MIB
LARGE = {"a.safetensors": noise(34 * MIB, 11), "b.safetensors": noise(25 * MIB + 77, 12), "config.json": b"{}"}
SMALL = {"a.safetensors": noise(9 * MIB, 13), "b.safetensors": noise(MIB + 77, 14), "config.json": b"{}"}


@pytest.fixture
def large(place: Place) -> Place:
    place.hub_server.content.commit("org/large", LARGE)
    return place


@pytest.fixture
def small(place: Place) -> Place:
    place.hub_server.content.commit("org/small", SMALL)
    return place


def from_hub(place: Place) -> int:
    return sum(record.sent for record in place.hub_server.file_requests)


def check(place: Place, prefix: str, files: Mapping[str, bytes] = LARGE) -> None:
    for path, content in files.items():
        assert place.read(prefix + path) == content
    assert place.s3_server.unfinished("models") == []
    assert not any("/.staging/" in f"/{key}" for key in place.objects())


def command(place: Place) -> subprocess.Popen[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HF_"))},
        "AWS_ACCESS_KEY_ID": place.s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": place.s3_server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HF_ENDPOINT": place.hub_server.url,
        "HF_HOME": "/nonexistent",
    }
    arguments = ["copy", "org/large", "s3://models/staged", "--endpoint-url", place.s3_server.url, "--json"]
    arguments += ["--memory", str(BUDGET // MIB)]
    return subprocess.Popen(
        [sys.executable, "-m", "staging", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored_parts(place: Place) -> int:
    return sum(record.operation == "UploadPart" and record.status == 200 for record in place.s3_server.requests)


def test_a_killed_run_is_continued_by_the_next(large: Place) -> None:
    large.hub_server.file_faults.add(Slow(3 * MIB), times=None)
    killed = command(large)
    while stored_parts(large) < 3 and killed.poll() is None:
        time.sleep(0.02)
    killed.kill()
    assert killed.communicate() == ("", ""), "it ended by itself"
    assert not any(key.endswith((".safetensors", MANIFEST_NAME)) for key in large.objects()), "nothing partial shows"
    assert len(large.s3_server.unfinished("models")) == 2
    large.hub_server.file_faults.clear()
    ended = command(large)
    out, err = ended.communicate(timeout=60)
    assert ended.returncode == 0, err
    facts = json.loads(out)
    assert facts["reused_bytes"] >= MIN_PART
    check(large, facts["uri"].removeprefix("s3://models/"))
    in_flight = BUDGET + 2 * 2 * MIN_PART
    assert from_hub(large) <= sum(map(len, LARGE.values())) + in_flight


def test_a_run_that_the_hub_left_is_continued(large: Place) -> None:
    model = large.pin("org/large")
    large.hub_server.file_faults.add(Status(503), path="*/b.safetensors", times=None)
    with pytest.raises(HubError) as raised:
        stage(plan(model, large.hub, large.store), patience=QUICK)
    assert raised.value.code == "hub.unreachable"
    assert not any(key.endswith(MANIFEST_NAME) for key in large.objects())
    large.hub_server.file_faults.clear()
    before = from_hub(large)
    result = stage(plan(model, large.hub, large.store), lease=QUICK_LEASE)
    assert result.reused_bytes >= len(LARGE["a.safetensors"]) - 4 * MIN_PART
    assert result.moved_bytes == result.staged.total_bytes - result.reused_bytes
    assert from_hub(large) - before <= len(LARGE["b.safetensors"]) + 2 * MIN_PART
    check(large, result.staged.prefix)


def test_other_tools_uploads_are_left_alone(small: Place) -> None:
    model = small.pin("org/small")
    key = f"staged/org/small/{model.commit}/a.safetensors"
    client = s3(small.store)
    foreign = client.create_multipart_upload(Bucket="models", Key=key)["UploadId"]
    client.upload_part(Bucket="models", Key=key, UploadId=foreign, PartNumber=1, Body=b"x" * MIN_PART)
    result = stage(plan(model, small.hub, small.store))
    assert small.s3_server.unfinished("models") == [key]
    client.abort_multipart_upload(Bucket="models", Key=key, UploadId=foreign)
    check(small, result.staged.prefix, SMALL)


def test_an_upload_that_somebody_aborts_begins_anew(large: Place) -> None:
    model = large.pin("org/large")
    large.hub_server.file_faults.add(Slow(15 * MIB), times=None)
    client = s3(large.store)
    aborted: list[str] = []

    def abort_once(_: StageProgress) -> None:
        if stored_parts(large) >= 2 and not aborted:
            upload = client.list_multipart_uploads(Bucket="models")["Uploads"][0]
            client.abort_multipart_upload(Bucket="models", Key=upload["Key"], UploadId=upload["UploadId"])
            aborted.append(upload["Key"])

    result = stage(plan(model, large.hub, large.store), progress=abort_once, patience=QUICK)
    assert aborted
    check(large, result.staged.prefix)


def test_of_two_runs_one_works_and_the_other_waits(small: Place) -> None:
    model = small.pin("org/small")
    small.hub_server.file_faults.add(Slow(6 * MIB), times=None)
    results: list[StageResult] = []
    phases: set[str] = set()

    def run() -> None:
        planned = plan(model, small.hub, small.store)
        # One that is slow for a moment is not dead.
        lease = replace(QUICK_LEASE, dead_seconds=10.0)
        results.append(stage(planned, lease=lease, progress=lambda moment: phases.add(moment.phase)))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0].staged == results[1].staged
    assert sorted(result.moved_bytes for result in results) == [0, results[0].staged.total_bytes]
    assert "waiting" in phases
    check(small, results[0].staged.prefix, SMALL)


def test_a_silent_run_on_another_machine_is_taken_over(small: Place) -> None:
    model = small.pin("org/small")
    elsewhere = this_process().model_copy(update={"host": "another-machine"})
    entry = JournalEntry(run="other", holder=elsewhere)
    s3(small.store).put_object(Bucket="models", Key=journal_key("staged", model), Body=entry.model_dump_json().encode())
    started = time.monotonic()
    result = stage(plan(model, small.hub, small.store), lease=QUICK_LEASE)
    assert time.monotonic() - started >= QUICK_LEASE.dead_seconds
    check(small, result.staged.prefix, SMALL)


def test_a_journal_that_cannot_be_read_stops_nobody(small: Place) -> None:
    model = small.pin("org/small")
    s3(small.store).put_object(Bucket="models", Key=journal_key("staged", model), Body=b"not a journal")
    check(small, stage(plan(model, small.hub, small.store)).staged.prefix, SMALL)


@pytest.mark.parametrize("late", [0, 3], ids=["at once", "a moment after its upload has gone"])
def test_a_file_that_the_store_completed_after_the_run_had_died_is_not_moved_again(small: Place, late: int) -> None:
    model = small.pin("org/small")
    planned = plan(model, small.hub, small.store)
    stage(planned)
    upload = JournalUpload(
        path="a.safetensors",
        key=f"staged/org/small/{model.commit}/a.safetensors",
        upload_id="gone",
        checksum="CRC32",
        checked=True,
        part_size=MIN_PART,
        parts=2,
    )
    entry = JournalEntry(run="dead", holder=None, uploads=(upload,))
    client = s3(small.store)
    body = entry.model_dump_json().encode()
    client.delete_object(Bucket="models", Key=f"staged/org/small/{model.commit}/{MANIFEST_NAME}")
    client.put_object(Bucket="models", Key=journal_key("staged", model), Body=body)
    small.s3_server.faults.add(Status(404), path="*/a.safetensors", operation="HeadObject", times=late)
    result = stage(planned)
    assert result.reused_bytes == len(SMALL["a.safetensors"])
    check(small, result.staged.prefix, SMALL)


@pytest.mark.long
def test_a_slow_journal_holds_up_the_parts_that_it_would_not_have(large: Place) -> None:
    files = {f"{number}.safetensors": noise(60 * MIB, 50 + number) for number in range(2)}
    large.hub_server.content.commit("org/slow", files)
    large.s3_server.faults.add(Stall(0.5), path="*/.staging/*", operation="PutObject", times=None)
    behind: list[int] = []

    def look(_: StageProgress) -> None:
        client, held = s3(large.store), 0
        try:
            for upload in client.list_multipart_uploads(Bucket="models").get("Uploads", []):
                parts = client.list_parts(Bucket="models", Key=upload["Key"], UploadId=upload["UploadId"])
                held += len(parts.get("Parts", []))
        except client.exceptions.NoSuchUpload:
            return
        found = read(model, large.store)
        if found is not None:
            behind.append(held - sum(upload.parts for upload in found[0].uploads))

    model = large.pin("org/slow")
    stage(plan(model, large.hub, large.store), progress=look)
    assert max(behind) > 0
    assert max(behind) * MIN_PART <= UNRECORDED + len(files) * 2 * MIN_PART
