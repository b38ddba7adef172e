"""Stand-ins of what is built around engines: they verify what they load, and refuse what the real ones refuse."""

import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from sandbox import tiny_tokenizer
from sandbox.engine.errors import EngineError
from sandbox.engine.model import MANIFEST
from sandbox.kubernetes.node.mountpoint import mount_bucket
from sandbox.kubernetes.node.mounts import MOUNTS_VARIABLE
from sandbox.kubernetes.node.volumes import VolumeError
from sandbox.s3 import serve_s3
from sandbox.standins import gguf, llama_cpp, pictures, pipelines, ray_head, ray_worker, triton
from sandbox.standins.engine_options import arguments_of, container_path, folders_in
from serving.smoke.png import read_png


def stage(folder: Path, files: dict[str, bytes]) -> Path:
    """Writes files with their manifest."""
    listed = []
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        listed.append({"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    (folder / MANIFEST).write_text(json.dumps({"files": listed}))
    return folder


# --- llama.cpp


def test_a_gguf_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    tensors = {"a": np.arange(12, dtype=np.float16).reshape(3, 4), "b": np.ones(5, np.float16)}
    path = tmp_path / "x.gguf"
    path.write_bytes(gguf.write({"general.name": "é", "n": 7}, tensors))
    metadata, found = gguf.read(path)
    assert metadata == {"general.name": "é", "n": 7}
    assert {name: tensor.tolist() for name, tensor in found.items()} == {k: v.tolist() for k, v in tensors.items()}


@pytest.mark.parametrize("kept", [0, 3, 20, 60, -1, -8])
def test_a_gguf_file_that_is_cut_off_is_refused(kept: int, tmp_path: Path) -> None:
    whole = gguf.write({"general.name": "x"}, {"a": np.ones((4, 16), np.float16)})
    path = tmp_path / "x.gguf"
    path.write_bytes(whole[:kept])
    with pytest.raises(gguf.NotGguf):
        gguf.read(path)


def test_llama_cpp_answers_for_the_file_that_was_staged_and_for_no_other(tmp_path: Path) -> None:
    tensors = {name: np.eye(300, 16, dtype=np.float16) for name in (gguf.EMBEDDING, gguf.OUTPUT)}
    tokenizer = tiny_tokenizer.tokenizer_files("qwen", max_length=128, chat=True)["tokenizer.json"].decode()
    content = gguf.write({gguf.TOKENIZER: tokenizer, "qwen3.context_length": 128}, tensors)
    folder = stage(tmp_path / "m", {"model.gguf": content})
    assert llama_cpp.load(folder / "model.gguf", "org/x", 0).max_model_len == 128
    (folder / "model.gguf").write_bytes(content[:-2] + b"\1\1")
    with pytest.raises(OSError, match="is not what was staged"):
        llama_cpp.load(folder / "model.gguf", "org/x", 0)


# --- Engine options that come from files


def test_options_are_the_engines_own_or_refused() -> None:
    options = {"max_model_len": 64, "enable_prefix_caching": False, "model_loader_extra_config": {"concurrency": 4}}
    environ = {MOUNTS_VARIABLE: json.dumps({"/staged-model": "/pods/a/model"})}
    read = arguments_of("/staged-model", options, served_as="org/x", series="0.32", environ=environ)
    assert (read.model, read.max_model_len, read.served_model_names) == ("/pods/a/model", 64, ("org/x",))
    assert read.given["enable_prefix_caching"] is False
    with pytest.raises(EngineError, match="unexpected keyword argument 'max_model_length'"):
        arguments_of("org/x", {"max_model_length": 1}, served_as="x", series="0.32", environ={})
    with pytest.raises(EngineError, match="does not take these options"):
        arguments_of("org/x", {"max_model_len": "long"}, served_as="x", series="0.32", environ={})


def test_paths_of_the_container_are_found_where_they_are(tmp_path: Path) -> None:
    environ = {MOUNTS_VARIABLE: json.dumps({"/repo/one": str(tmp_path), "/repo": "/elsewhere"})}
    assert container_path("/repo/one/1/model.json", environ) == f"{tmp_path}/1/model.json"
    assert container_path("/repository", environ) == "/repository"
    assert folders_in("/repo", environ) == {"one": tmp_path}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds none"),
        ({"config.pbtxt": "backend: \"python\""}, "vllm backend only"),
        ({"config.pbtxt": 'backend: "vllm"'}, "model.json"),
        ({"config.pbtxt": 'backend: "vllm"', "1/model.json": '{"model": "/m", "nonsense": 1}'}, "nonsense"),
    ],
)  # fmt: skip
def test_triton_refuses_a_repository_that_it_cannot_load(files: dict[str, str], said: str, tmp_path: Path) -> None:
    for path, content in files.items():
        target = tmp_path / "vllm_model" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    with pytest.raises(EngineError, match=said):
        triton.load_repository(str(tmp_path), {})


# --- Ray


LLM = {
    "name": "llm",
    "route_prefix": "/",
    "import_path": ray_worker.LLM_APPLICATION,
    "args": {
        "llm_configs": [{"model_loading_config": {"model_id": "org/x"}, "deployment_config": {"num_replicas": 2}}]
    },
}


def test_an_application_runs_when_as_many_replicas_run_as_it_wants() -> None:
    head = ray_head.Head(config={"applications": [LLM]})
    config = ray_head.digest(head.config)

    def say(node: str, status: str, of: str = config, message: str = "") -> dict[str, Any]:
        head.replicas[node] = ray_head.Replica(of, status, message, "127.1.1.1", time.monotonic())
        found: dict[str, Any] = head.applications()["llm"]
        return found

    assert say("a", "RUNNING")["message"] == "1 of 2 replicas run"
    assert say("b", "RUNNING", of="an older configuration")["status"] == "DEPLOYING"
    assert not head.healthy()
    assert say("b", "RUNNING")["status"] == "RUNNING"
    assert head.healthy()
    failed = say("a", "DEPLOY_FAILED", message="ValueError: no")
    assert (failed["status"], failed["message"]) == ("DEPLOY_FAILED", "ValueError: no")


def test_the_proxy_sends_to_replicas_of_the_present_configuration_that_were_heard_of_lately() -> None:
    head = ray_head.Head(config={"applications": [LLM]})
    config, now = ray_head.digest(head.config), time.monotonic()
    head.replicas = {
        "well": ray_head.Replica(config, "RUNNING", "", "127.1.1.1", now),
        "loading": ray_head.Replica(config, "DEPLOYING", "", "127.1.1.2", now),
        "outdated": ray_head.Replica("an older configuration", "RUNNING", "", "127.1.1.3", now),
        "silent": ray_head.Replica(config, "RUNNING", "", "127.1.1.4", now - ray_head.FORGET_SECONDS - 1),
    }
    assert head.running() == ["127.1.1.1"]


def test_an_application_that_cannot_be_imported_is_refused() -> None:
    with pytest.raises(EngineError, match="Failed to import 'nowhere:app'"):
        ray_worker.application_arguments({"import_path": "nowhere:app"}, series="0.32", environ={})
    with_command = {"import_path": "json:build", "args": {"command": ["vllm", "serve", "/m", "--max-model-len", "64"]}}
    read = ray_worker.application_arguments(with_command, series="0.32", environ={})
    assert (read.model, read.max_model_len) == ("/m", 64)
    autoscaled = {"args": {"llm_configs": [{"deployment_config": {"autoscaling_config": {"min_replicas": 3}}}]}}
    assert ray_head.wanted_replicas(autoscaled) == 3


# --- Pictures


def test_a_pipeline_paints_by_prompt_seed_and_weights_and_reads_what_was_staged(tmp_path: Path) -> None:
    class Generator:
        seed = 7

    index = {"_class_name": "FluxPipeline", "vae": ["diffusers", "AutoencoderKL"]}
    weights = {"vae/config.json": b"{}", "vae/diffusion_pytorch_model.safetensors": b"123"}
    folder = stage(tmp_path / "m", {"model_index.json": json.dumps(index).encode(), **weights})

    def paint(prompt: str, generator: Any = None) -> bytes:
        out = io.BytesIO()
        pipe = pipelines.kind("FluxPipeline").from_pretrained(str(folder))
        pipe(prompt, width=72, height=64, generator=generator).images[0].save(out)
        return out.getvalue()

    fox = paint("a fox")
    assert paint("a fox") == fox != paint("a hare")
    assert paint("a fox", Generator()) != fox
    seen = read_png(fox)
    assert (seen.width, seen.height, seen.plain) == (72, 64, False)
    with pytest.raises(ValueError, match="expected a StableDiffusion3Pipeline"):
        pipelines.kind("StableDiffusion3Pipeline").from_pretrained(str(folder))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"124")
    with pytest.raises(OSError, match="is not what was staged"):
        paint("a fox")
    with pytest.raises(OSError, match=r"model_index\.json"):
        pipelines.Pipeline.from_pretrained("/nowhere")


def test_pictures_are_png_files() -> None:
    assert read_png(pictures.png(pictures.paint("x", width=8, height=9))).height == 9


# --- Mountpoint for S3


def test_a_bucket_appears_as_a_directory_or_the_driver_says_why_not(tmp_path: Path) -> None:
    def volume(*options: str, bucket: str = "models") -> dict[str, Any]:
        csi = {"driver": "s3.csi.aws.com", "volumeAttributes": {"bucketName": bucket}}
        return {"metadata": {"name": "v"}, "spec": {"csi": csi, "mountOptions": list(options)}}

    with serve_s3(("models",)) as s3:
        keys = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
        client = boto3.client(
            "s3",
            endpoint_url=s3.url,
            region_name=s3.region,
            aws_access_key_id=s3.access_key,
            aws_secret_access_key=s3.secret_key,
        )
        client.put_object(Bucket="models", Key="org/x/a/b.json", Body=b"{}")
        client.put_object(Bucket="models", Key="org/y/c.json", Body=b"{}")
        there = (f"region {s3.region}", f"endpoint-url {s3.url}", "force-path-style", "read-only", "allow-other")
        mount_bucket(volume("prefix org/x/", *there), tmp_path / "m", keys)
        assert [str(path.relative_to(tmp_path / "m")) for path in (tmp_path / "m").rglob("*.json")] == ["a/b.json"]
        with pytest.raises(VolumeError, match="it must end in '/'"):
            mount_bucket(volume("prefix org/x", *there), tmp_path / "n", keys)
        with pytest.raises(VolumeError, match="unexpected argument '--readonly'"):
            mount_bucket(volume("readonly", *there), tmp_path / "n", keys)
        with pytest.raises(VolumeError, match="Failed to create mount process"):
            mount_bucket(volume(*there, bucket="nowhere"), tmp_path / "n", keys)
