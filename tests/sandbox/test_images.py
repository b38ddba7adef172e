"""The sandbox's images: what each name runs."""

import os
import subprocess
from pathlib import Path

import boto3
import pytest

from sandbox.images import default_images
from sandbox.kubernetes.node.config import ImageConfig
from sandbox.s3 import serve_s3


def find(reference: str, vllm: Path | None = None) -> ImageConfig:
    return next(image for image in default_images(vllm=vllm) if image.matches(reference))


def run(image: ImageConfig, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{image.path}:/usr/bin:/bin", "HOME": "/nonexistent", **image.env, **env}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("reference", "series"),
    [
        ("public.ecr.aws/deep-learning-containers/vllm:0.10.2-gpu-py312-ec2", "0.10"),
        ("public.ecr.aws/q9t5s3a7/vllm-neuron-release-repo:v0.9.1", "0.9"),
        ("vllm/vllm-openai:v0.11.0", "0.32"),
        ("public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.32.0", "0.32"),
    ],
)
def test_vllm_images_have_the_command_line_of_their_release(reference: str, series: str) -> None:
    assert find(reference).env["SANDBOX_ENGINE_SERIES"] == series


def test_every_image_holds_executables() -> None:
    for image in (*default_images(), *default_images(vllm=Path("/opt/vllm/bin/vllm"))):
        assert image.path is not None
        programs = [path for path in image.path.iterdir() if path.is_file()]
        assert programs
        assert all(os.access(program, os.X_OK) for program in programs)


def test_vllm_is_the_stand_in_and_refuses_what_vllm_refuses() -> None:
    done = run(find("vllm/vllm-openai:latest"), "vllm", "serve", "org/model", "--no-such-flag", "1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "vllm: error: unrecognized arguments: --no-such-flag 1"


def test_a_real_engine_takes_the_stand_ins_place(tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text('#!/bin/sh\necho "$HF_HUB_OFFLINE $VLLM_CPU_KVCACHE_SPACE $@"\n')
    program.chmod(0o755)
    image = find("vllm/vllm-openai:latest", vllm=program)
    assert run(image, "vllm", "serve", "s3://models/x/").stdout == "1 1 serve s3://models/x/\n"
    assert run(image, "vllm", "serve", "org/x", HF_ENDPOINT="http://127.0.0.1:1").stdout == " 1 serve org/x\n"


def test_aws_is_the_real_command_line(tmp_path: Path) -> None:
    image = find("public.ecr.aws/aws-cli/aws-cli:2.27.0")
    with serve_s3() as s3:
        env = {
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_DEFAULT_REGION": s3.region,
        }
        keys = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
        client = boto3.client("s3", endpoint_url=s3.url, region_name=s3.region, **keys)
        client.put_object(Bucket="models", Key="x/weights", Body=b"1" * 1000)
        done = run(image, "aws", "s3", "sync", "s3://models/x/", str(tmp_path / "copy"), **env)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "copy" / "weights").read_bytes() == b"1" * 1000
        denied = {"AWS_ACCESS_KEY_ID": s3.denied.access_key, "AWS_SECRET_ACCESS_KEY": s3.denied.secret_key}
        refused = run(image, "aws", "s3", "ls", "s3://models/", **{**env, **denied})
        assert refused.returncode != 0
        assert "AccessDenied" in refused.stderr


def test_python_is_this_projects() -> None:
    done = run(find("sandbox/python:3.11"), "python3", "-c", "import tokenizers; print('here')")
    assert done.stdout == "here\n"
