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
from serving.models import MANIFEST_NAME, PinnedModel
from staging.manifest import find_staged
from staging.parts import MIN_PART
from staging.store import s3
from tests.staging.conftest import MIB, Place, noise

ROOT = Path(__file__).parents[2]
REPO = "org/giant"
SHARDS = 4
SHARD = 256 * MIB
BUDGET = 32 * MIB
KILLS = 25
IN_FLIGHT = BUDGET + SHARDS * 2 * MIN_PART
"""Parts that a run has in its hands: pieces in memory, and of each file the part being sent and the one answered."""


@pytest.fixture(scope="module")
def giant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("giant")
    files: dict[str, bytes | Path] = {"config.json": b"{}"}
    block = noise(SHARD // 16, 41)
    for shard in range(SHARDS):
        path = folder / f"model-{shard}.safetensors"
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
    objects = client.list_objects_v2(Bucket="models", Prefix=f"{prefix}/{REPO}/").get("Contents", [])
    held = sum(item["Size"] for item in objects)
    for upload in client.list_multipart_uploads(Bucket="models").get("Uploads", []):
        parts = client.list_parts(Bucket="models", Key=upload["Key"], UploadId=upload["UploadId"])
        held += sum(part["Size"] for part in parts.get("Parts", []))
    return held


def whole_or_absent(place: Place, model: PinnedModel, prefix: str) -> None:
    """Whatever a reader can see at this moment is complete."""
    root = f"{prefix}/{REPO}/{model.commit}/"
    for key in place.objects():
        if key.startswith(root) and key.endswith(".safetensors"):
            assert s3(place.store).head_object(Bucket="models", Key=key)["ContentLength"] == SHARD
    assert f"{root}{MANIFEST_NAME}" not in place.objects()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_resume_after_a_kill_ends_byte_exact(giant: Place) -> None:
    model = giant.pin(REPO)
    chance = random.Random(7)
    began = time.monotonic()
    assert start(giant, "whole").wait() == 0
    whole = time.monotonic() - began
    worst = 0
    for number in range(KILLS):
        prefix = f"kill-{number}"
        run = start(giant, prefix)
        time.sleep(chance.uniform(0, whole))
        run.kill()
        run.communicate()
        time.sleep(0.5)
        held = stored(giant, prefix)
        if run.returncode != 0:
            whole_or_absent(giant, model, prefix)
        again = start(giant, prefix)
        out, err = again.communicate()
        assert again.returncode == 0, err
        facts = json.loads(out)
        twice = facts["moved_bytes"] + min(held, facts["total_bytes"]) - facts["total_bytes"]
        worst = max(worst, twice)
        staged = find_staged(model, giant.store_as(giant.s3_server.owner, prefix=prefix))
        assert staged is not None
        for file in staged.files:
            assert hashlib.sha256(giant.read(staged.prefix + file.path)).hexdigest() == file.sha256
        assert facts["total_bytes"] == staged.total_bytes
        assert giant.s3_server.unfinished("models") == []
        client = s3(giant.store)
        for key in [key for key in giant.objects() if key.startswith(f"{prefix}/")]:
            client.delete_object(Bucket="models", Key=key)
    print(f"{KILLS} kills, at most {worst / MIB:.1f} MiB that were stored travelled again")
    if worst > IN_FLIGHT:
        pytest.xfail(f"{worst} bytes that were stored travelled again, more than the {IN_FLIGHT} in flight")
