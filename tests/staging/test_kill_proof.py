"""The long proof: killed at 25 random moments of a 1 GiB staging, every resume ends byte-exact."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox.hub import serve_hub
from sandbox.hub_content import HubContent
from sandbox.s3 import serve_s3
from serving.models import MANIFEST_NAME, PinnedModel, StagedModel
from staging.hub import list_files
from staging.keeper import UNRECORDED
from staging.manifest import find_staged
from staging.parts import MIN_PART
from staging.store import s3
from tests.staging.conftest import MIB, Place, noise

ROOT = Path(__file__).parents[2]
REPO = "org/giant"
SHARDS = 4
SHARD = 256 * MIB
BUDGET = 32 * MIB
SHARD_NAMES = [f"model-{number}.safetensors" for number in range(SHARDS)]
KILLS, BATCHES = 25, 5


@pytest.fixture(scope="module")
def giant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("giant")
    files: dict[str, bytes | Path] = {"config.json": b"{}"}
    block = noise(SHARD // 16, 41)
    for shard, name in enumerate(SHARD_NAMES):
        path = folder / name
        with path.open("wb") as out:
            for number in range(16):
                out.write(bytes([shard, number]) + block[2:])
        files[path.name] = path
    content = HubContent()
    content.commit(REPO, files)  # type: ignore[arg-type]
    with serve_hub(content) as hub, serve_s3() as s3_server:
        yield Place(hub, s3_server)


def start(place: Place, prefix: str) -> subprocess.Popen[str]:
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HF_"))},
        "AWS_ACCESS_KEY_ID": place.s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": place.s3_server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HF_ENDPOINT": place.hub_server.url,
        "HF_HOME": "/nonexistent",
    }
    arguments = ["copy", REPO, f"s3://models/{prefix}", "--endpoint-url", place.s3_server.url, "--json"]
    arguments += ["--memory", str(BUDGET // MIB)]
    command = [sys.executable, "-m", "staging", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=pipe, stderr=pipe, text=True)


def stored(place: Place, prefix: str) -> int:
    """Bytes that the store holds, visible or not, once it has answered what the killed run had asked of it."""
    while True:
        with suppress(s3(place.store).exceptions.NoSuchUpload):  # completed between two calls: look again
            return held_now(place, prefix)


def held_now(place: Place, prefix: str) -> int:
    client = s3(place.store)
    while True:
        objects = client.list_objects_v2(Bucket="models", Prefix=f"{prefix}/{REPO}/").get("Contents", [])
        held = sum(item["Size"] for item in objects)
        try:
            for upload in client.list_multipart_uploads(Bucket="models").get("Uploads", []):
                parts = client.list_parts(Bucket="models", Key=upload["Key"], UploadId=upload["UploadId"])
                held += sum(part["Size"] for part in parts.get("Parts", []))
        except client.exceptions.NoSuchUpload:
            # The store was completing it for the dead run, and its bytes are an object now: look again.
            continue
        return held


def wait_until_quiet(place: Place) -> None:
    """Wait until the store has dealt with all that a dead run had sent."""
    seen = -1
    while seen != len(place.s3_server.requests) or any(record.status == 0 for record in place.s3_server.requests[-99:]):
        seen = len(place.s3_server.requests)
        time.sleep(0.5)


def assert_nothing_partial_shows(place: Place, model: PinnedModel, prefix: str) -> None:
    """Whatever a reader can see at this moment is complete: each file, and all of them if there is a manifest."""
    root = f"{prefix}/{REPO}/{model.commit}/"
    visible = place.objects()
    if f"{root}{MANIFEST_NAME}" in visible:
        assert {f"{root}{path}" for path in [*SHARD_NAMES, "config.json", ".gitattributes"]} <= set(visible)
    for key in visible:
        if key.startswith(root) and key.endswith(".safetensors"):
            assert s3(place.store).head_object(Bucket="models", Key=key)["ContentLength"] == SHARD


def assert_byte_exact(place: Place, staged: StagedModel) -> None:
    on_hub = {file.path: file for file in list_files(staged.model, place.hub)}
    assert {file.path for file in staged.files} == on_hub.keys()
    for file in staged.files:
        assert hashlib.sha256(place.read(staged.prefix + file.path)).hexdigest() == file.sha256
        assert on_hub[file.path].sha256 in {file.sha256, ""}


def watch(place: Place, seconds: float) -> int:
    """The most parts that the store was receiving at a time within the next seconds."""
    first, most, end = len(place.s3_server.requests), 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        asked = place.s3_server.requests[first:]
        most = max(most, sum(one.operation == "UploadPart" and one.status == 0 for one in asked))
        time.sleep(min(0.02, left))
    return most


def in_flight(parts: int) -> int:
    """Stored bytes that the journal may not have, with so many parts received at a time.

    Those that it is behind by, and of each connection the part that is being sent and the one that is being answered.
    A run uses a connection for each file, and more where the store is slow.
    """
    return UNRECORDED + 2 * max(SHARDS, parts) * MIN_PART


def kill_and_resume(place: Place, model: PinnedModel, prefix: str, seconds: float, *, at_once: bool) -> tuple[int, int]:
    """Kill a run after some seconds and let another one finish its work.

    Args:
        place: Where.
        model: What.
        prefix: A prefix of its own.
        seconds: When.
        at_once: Whether the other run starts while the store still works on what the dead one had asked for.

    Returns:
        Bytes that the store had and that travelled again, and how many may.
    """
    run = start(place, prefix)
    allowed = in_flight(watch(place, seconds))
    run.kill()
    run.communicate()
    if not at_once:
        wait_until_quiet(place)
    held = stored(place, prefix)
    assert_nothing_partial_shows(place, model, prefix)
    resumed = start(place, prefix)
    out, err = resumed.communicate()
    assert resumed.returncode == 0, err
    facts = json.loads(out)
    staged = find_staged(model, place.store_as(place.s3_server.owner, prefix=prefix))
    assert staged is not None
    assert facts["total_bytes"] == staged.total_bytes
    assert_byte_exact(place, staged)
    client = s3(place.store)
    for upload in client.list_multipart_uploads(Bucket="models").get("Uploads", []):
        # The store may get to what the dead run had asked for last when the other has looked already: an upload that
        # no journal names holds nothing, costs nothing, and goes with the bucket's rule for stale ones.
        which = {"Bucket": "models", "Key": upload["Key"], "UploadId": upload["UploadId"]}
        assert at_once
        assert not client.list_parts(**which).get("Parts")
        client.abort_multipart_upload(**which)
    for key in [key for key in place.objects() if key.startswith(f"{prefix}/")]:
        client.delete_object(Bucket="models", Key=key)
    return int(facts["moved_bytes"]) + min(held, staged.total_bytes) - staged.total_bytes, allowed


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_resume_after_a_kill_ends_byte_exact(giant: Place, batch: int) -> None:
    model = giant.pin(REPO)
    chance = random.Random(batch)
    began = time.monotonic()
    assert start(giant, f"whole-{batch}").wait() == 0
    whole = time.monotonic() - began
    for number in range(KILLS // BATCHES):
        seconds = chance.uniform(0, whole)
        again, allowed = kill_and_resume(giant, model, f"kill-{batch}-{number}", seconds, at_once=number % 2 == 0)
        what = f"{again / MIB:.1f} MiB that were stored travelled again, of at most {allowed / MIB:.0f}"
        print(f"killed after {seconds:.1f} of {whole:.1f} s: {what}")
        assert again <= allowed
