"""The init container's script, run for real: the AWS CLI against an S3 server."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from serving.frameworks.arguments import literal
from serving.frameworks.fetch import SCRIPT, checksum_configmaps, fetch_container
from serving.models import MANIFEST_NAME, PinnedModel, StagedFile, StagedModel

FILES = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "model-00001-of-00002.safetensors": os.urandom(300_000),
    "model-00002-of-00002.safetensors": os.urandom(200_001),
    "sub dir/a file with spaces.txt": b"spaces",
    "empty.txt": b"",
}
COMMIT = "1" * 40


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def staged(s3: str, request: pytest.FixtureRequest) -> StagedModel:
    client = boto3.client(
        "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    bucket = f"models-{hashlib.sha256(request.node.name.encode()).hexdigest()[:12]}"
    client.create_bucket(Bucket=bucket)
    prefix = f"org/name/{COMMIT}/"
    for path, body in FILES.items():
        client.put_object(Bucket=bucket, Key=prefix + path, Body=body)
    client.put_object(Bucket=bucket, Key=prefix + MANIFEST_NAME, Body=b"{}")
    return StagedModel(
        model=PinnedModel(repo_id="org/name", revision="main", commit=COMMIT),
        uri=f"s3://{bucket}/{prefix}",
        files=tuple(
            StagedFile(path=path, size=len(body), sha256=hashlib.sha256(body).hexdigest())
            for path, body in FILES.items()
        ),
        region="us-east-1",
        endpoint_url=s3,
    )


def run(staged: StagedModel, model_dir: Path, *, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Does what a kubelet does: mounts the ConfigMap's keys, sets the environment, runs the command."""
    objects, _ = checksum_configmaps("chat", staged, {})
    checksums = tmp_path / "checksums"
    shutil.rmtree(checksums, ignore_errors=True)
    checksums.mkdir()
    for manifest in objects:
        for key, text in manifest["data"].items():
            (checksums / key).write_text(text)
    container = fetch_container(staged, "/staged-model", [], {})
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    env = {
        name: value.replace("/staged-model-checksums", str(checksums)).replace("/staged-model", str(model_dir))
        for name, value in env.items()
    }
    env |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": staged.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    model_dir.mkdir(exist_ok=True)
    return subprocess.run(["/bin/sh", "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_whole_prefix_arrives_verified_and_a_second_start_repairs_what_was_damaged(
    staged: StagedModel, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    first = run(staged, model, tmp_path=tmp_path)
    assert first.returncode == 0, first.stderr
    assert f"verified {len(FILES)} files, {staged.total_bytes} bytes" in first.stdout
    assert {p.relative_to(model).as_posix() for p in model.rglob("*") if p.is_file()} == {*FILES, MANIFEST_NAME}
    for path, body in FILES.items():
        assert (model / path).read_bytes() == body

    damaged = model / "model-00001-of-00002.safetensors"
    stamp = damaged.stat().st_mtime
    damaged.write_bytes(b"x" * len(FILES[damaged.name]))
    os.utime(damaged, (stamp, stamp))
    second = run(staged, model, tmp_path=tmp_path)
    assert second.returncode == 1
    assert "checksum mismatch: model-00001-of-00002.safetensors: FAILED" in second.stderr
    third = run(staged, model, tmp_path=tmp_path)
    assert third.returncode == 0, third.stderr
    assert damaged.read_bytes() == FILES[damaged.name]


def test_other_bytes_than_were_staged_never_pass(staged: StagedModel, tmp_path: Path) -> None:
    files = list(staged.files)
    files[3] = files[3].model_copy(update={"sha256": "0" * 64})
    files.append(StagedFile(path="not-there.bin", size=5, sha256="2" * 64))
    ended = run(staged.model_copy(update={"files": tuple(files)}), tmp_path / "model", tmp_path=tmp_path)
    assert ended.returncode == 1
    assert "checksum mismatch: sub dir/a file with spaces.txt: FAILED" in ended.stderr
    assert "checksum mismatch: not-there.bin: FAILED open or read" in ended.stderr
    assert "does not match its manifest" in ended.stderr.strip().splitlines()[-1]


def test_a_bucket_that_cannot_be_read_ends_with_a_line_that_names_it(staged: StagedModel, tmp_path: Path) -> None:
    gone = staged.model_copy(update={"uri": "s3://no-such-bucket-here/org/name/"})
    ended = run(gone, tmp_path / "model", tmp_path=tmp_path)
    assert ended.returncode == 1
    assert "NoSuchBucket" in ended.stderr
    assert "cannot read s3://no-such-bucket-here/org/name/" in ended.stderr


def test_the_script_reaches_the_shell_as_written() -> None:
    """Kubernetes turns ``$$`` into ``$`` and expands ``$(NAME)``: the rendered text must survive both."""
    rendered = literal(SCRIPT)
    assert "$(nproc)" not in rendered.replace("$$(nproc)", "")
    assert expand(rendered, {"nproc": "expanded"}) == SCRIPT


def expand(text: str, env: dict[str, str]) -> str:
    """Kubernetes' expansion of ``$(NAME)``, as its documentation gives it."""
    out, at = [], 0
    while at < len(text):
        if text[at] == "$" and at + 1 < len(text):
            if text[at + 1] == "$":
                out.append("$")
                at += 2
                continue
            if text[at + 1] == "(" and (end := text.find(")", at)) > 0:
                name = text[at + 2 : end]
                out.append(env.get(name, text[at : end + 1]))
                at = end + 1
                continue
        out.append(text[at])
        at += 1
    return "".join(out)
