"""A model travels from the Hub into the bucket: byte-exact, manifest last, and never twice."""

import hashlib
import json
import threading

import pytest

from sandbox.faults import FlipBit
from serving.errors import InputError, StagingError, StoreError
from serving.models import MANIFEST_NAME
from staging.engine import stage
from staging.layout import Layout
from staging.manifest import find_staged
from staging.plan import Source, plan
from staging.progress import StageProgress
from tests.staging.conftest import FILES, MIB, QUICK, REPO, Place, noise


def test_a_staged_model_is_byte_exact_and_its_manifest_says_so(place: Place) -> None:
    model = place.pin()
    moments: list[StageProgress] = []
    result = stage(plan(model, place.hub, place.store), progress=moments.append)
    prefix = f"staged/{REPO}/{model.commit}/"
    assert {key.removeprefix(prefix) for key in place.objects()} == {*FILES, ".gitattributes", MANIFEST_NAME}
    for path, content in FILES.items():
        assert place.read(prefix + path) == content
    manifest = json.loads(place.read(prefix + MANIFEST_NAME))
    assert manifest["version"] == 1
    assert (manifest["repo_id"], manifest["revision"], manifest["commit"]) == (REPO, "main", model.commit)
    assert manifest["total_bytes"] == result.moved_bytes == result.staged.total_bytes
    digests = {file["path"]: file["sha256"] for file in manifest["files"]}
    assert {path: digests[path] for path in FILES} == {
        path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()
    }
    assert result.staged.uri == f"s3://models/{prefix}"
    assert place.s3_server.unfinished("models") == []
    assert moments[-1].phase == "done"
    assert moments[-1].done_bytes == moments[-1].total_bytes
    assert moments[-1].files_done == moments[-1].files_total == len(FILES) + 1


def test_the_manifest_is_the_last_object_written_and_conditional(place: Place) -> None:
    stage(plan(place.pin(), place.hub, place.store))
    writes = [
        record
        for record in place.s3_server.requests
        if record.operation in {"PutObject", "CompleteMultipartUpload"} and ".staging/" not in record.path
    ]
    assert max(writes, key=lambda record: record.at).path.endswith(MANIFEST_NAME)
    assert sum(record.path.endswith(MANIFEST_NAME) for record in writes) == 1


def test_a_second_run_asks_the_hub_once_and_reads_the_manifest_alone(place: Place) -> None:
    first = stage(plan(place.pin(), place.hub, place.store))
    asked, stored = len(place.hub_server.requests), len(place.s3_server.requests)
    again = stage(plan(place.pin(), place.hub, place.store))
    assert [record.path for record in place.hub_server.requests[asked:]] == [f"/api/models/{REPO}/revision/main"]
    assert place.operations(stored) == ["GetObject"]
    assert again.staged == first.staged
    assert again.moved_bytes == again.copied_bytes == 0


def test_a_staged_model_is_found_by_its_manifest(place: Place) -> None:
    model = place.pin()
    assert find_staged(model, place.store) is None
    result = stage(plan(model, place.hub, place.store))
    assert find_staged(model, place.store) == result.staged


def test_a_refresh_downloads_only_what_changed(place: Place) -> None:
    old = place.pin()
    stage(plan(old, place.hub, place.store))
    changed = noise(600_000, 77)
    place.hub_server.content.commit(REPO, {"model-00002-of-00002.safetensors": changed})
    model = place.pin()
    planned = plan(model, place.hub, place.store)
    assert [file.file.path for file in planned.files if file.source is Source.HUB] == [
        "model-00002-of-00002.safetensors"
    ]
    result = stage(planned)
    assert result.moved_bytes == len(changed)
    assert result.copied_bytes == result.staged.total_bytes - len(changed)
    assert place.read(f"{result.staged.prefix}model-00002-of-00002.safetensors") == changed
    for path in ("model-00001-of-00002.safetensors", "config.json", "empty.txt"):
        assert place.read(result.staged.prefix + path) == FILES[path]
    assert find_staged(old, place.store) is not None, "the commit before stays as it is"


def test_flipped_bits_that_pass_are_repaired(place: Place) -> None:
    place.hub_server.file_faults.add(FlipBit(at=8 * MIB + 5), path="*00001-of-00002*")
    place.hub_server.faults.add(FlipBit(at=1), path="*/config.json", method="GET")
    result = stage(plan(place.pin(), place.hub, place.store), patience=QUICK)
    for path, content in FILES.items():
        assert place.read(result.staged.prefix + path) == content
    assert place.s3_server.unfinished("models") == []


@pytest.mark.parametrize("path", ["model-00001-of-00002.safetensors", "tokenizer.json"])
def test_bits_that_stay_flipped_are_never_visible(place: Place, path: str) -> None:
    place.hub_server.file_faults.add(FlipBit(at=100), path=f"*/{path}", times=None)
    place.hub_server.faults.add(FlipBit(at=100), path=f"*/{path}", method="GET", times=None)
    model = place.pin()
    with pytest.raises(StagingError, match=path) as raised:
        stage(plan(model, place.hub, place.store), patience=QUICK)
    assert raised.value.code == "staging.corrupt"
    assert not any(key.endswith((path, MANIFEST_NAME)) for key in place.objects())
    assert place.s3_server.unfinished("models") == []
    assert find_staged(model, place.store) is None


def test_a_cancelled_run_publishes_nothing(place: Place) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(StagingError) as raised:
        stage(plan(place.pin(), place.hub, place.store), cancel=cancel)
    assert raised.value.code == "staging.cancelled"
    assert not any(key.endswith(MANIFEST_NAME) for key in place.objects())


def test_other_patterns_add_the_files_that_are_missing(place: Place) -> None:
    model = place.pin()
    stage(plan(model, place.hub, place.store, allow=["*.json"]))
    result = stage(plan(model, place.hub, place.store))
    assert {file.path for file in result.staged.files} == {*FILES, ".gitattributes"}
    fewer = stage(plan(model, place.hub, place.store, allow=["config.json"]))
    assert fewer.staged == result.staged, "what is staged already covers it"


def test_nothing_selected_is_said_before_anything_happens(place: Place) -> None:
    with pytest.raises(InputError) as raised:
        plan(place.pin(), place.hub, place.store, allow=["*.gguf"])
    assert raised.value.code == "input.nothing_selected"


def test_the_flat_layout_holds_one_commit_at_a_time(place: Place) -> None:
    store = place.store_as(place.s3_server.owner, layout=Layout.FLAT)
    old = place.pin()
    stage(plan(old, place.hub, store))
    place.hub_server.content.commit(REPO, {"config.json": b"{}", "tokenizer.json": None})
    model = place.pin()
    result = stage(plan(model, place.hub, store))
    assert result.staged.uri == f"s3://models/staged/{REPO}/"
    assert result.moved_bytes == 2
    assert place.read(f"staged/{REPO}/config.json") == b"{}"
    assert f"staged/{REPO}/tokenizer.json" not in place.objects()
    assert find_staged(old, store) is None
    assert find_staged(model, store) == result.staged


@pytest.mark.parametrize("budget", [8 * MIB, 24 * MIB])
def test_a_model_larger_than_the_memory_budget_passes_through(place: Place, budget: int) -> None:
    files = {"a.safetensors": noise(25 * MIB, 5), "b.safetensors": noise(17 * MIB, 6)}
    place.hub_server.content.commit("org/large", files)
    result = stage(plan(place.pin("org/large"), place.hub, place.store), memory_budget=budget)
    for path, content in files.items():
        assert place.read(result.staged.prefix + path) == content


def test_without_the_right_to_write_nothing_appears(place: Place) -> None:
    with pytest.raises(StoreError) as raised:
        stage(plan(place.pin(), place.hub, place.store_as(place.s3_server.reader)))
    assert raised.value.code == "store.access_denied"
    place.assert_clean()
