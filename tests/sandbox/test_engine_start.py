"""The stand-in engine's start: what it verifies, what it refuses, and in whose words."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from engine_models import write_manifest

from sandbox import tiny_models
from sandbox.engine import arguments, errors, faults, model, serve, sources
from sandbox.hub import HubServer, serve_hub
from sandbox.s3 import S3Credential, S3Server, serve_s3

REPO = "Qwen/Qwen3-1.7B"
SIZE = 2_000_000


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def staged(cache: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "staged"
    shutil.copytree(tiny_models.generate(tiny_models.MODELS[REPO], cache, size=SIZE), directory)
    write_manifest(directory)
    return directory


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with serve_s3() as server:
        yield server


@pytest.fixture(scope="module")
def hub(cache: Path) -> Iterator[HubServer]:
    with serve_hub(tiny_models.hub_content(cache, size=SIZE)) as server:
        yield server


def upload(s3: S3Server, directory: Path, prefix: str) -> None:
    keys = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
    client = boto3.client("s3", endpoint_url=s3.url, region_name=s3.region, **keys)
    for path in directory.rglob("*"):
        if path.is_file():
            client.put_object(Bucket="models", Key=prefix + str(path.relative_to(directory)), Body=path.read_bytes())


def environ(s3: S3Server, who: S3Credential | None = None) -> dict[str, str]:
    who = who or s3.owner
    return {
        "AWS_ENDPOINT_URL": s3.url,
        "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
        "AWS_ACCESS_KEY_ID": who.access_key,
        "AWS_SECRET_ACCESS_KEY": who.secret_key,
        "AWS_REGION": s3.region,
    }


def loaded(source: sources.Source) -> model.Model:
    return model.load(source, model.read_config(source), lambda _done, _count: None)


def failure(source: sources.Source) -> str:
    with pytest.raises(errors.EngineError) as caught:
        loaded(source)
    return f"{caught.value.kind}: {caught.value.message}"


def test_a_staged_directory_is_verified_and_loaded(staged: Path) -> None:
    found = loaded(sources.DirectorySource("/models", staged))
    assert found.files == 2
    assert found.total_bytes == sum(
        path.stat().st_size for path in staged.rglob("*") if path.is_file() and path.name != model.MANIFEST
    )
    assert found.embedding.shape == found.output.shape == (1280, 256)
    row = found.embedding.rows(7, 8)[0]
    assert row.dtype == np.float32
    assert 0.01 < float(np.abs(row).mean()) < 0.2


@pytest.mark.parametrize(
    "path", ["model-00002-of-00002.safetensors", "config.json", "tokenizer.json", "README.md", "generation_config.json"]
)
def test_one_wrong_byte_is_found_in_any_file(staged: Path, path: str) -> None:
    content = bytearray((staged / path).read_bytes())
    place = -2 if path.endswith(".safetensors") else next(at for at, byte in enumerate(content) if chr(byte).isalpha())
    content[place] ^= 1
    (staged / path).write_bytes(content)
    assert f"{path} has SHA-256" in failure(sources.DirectorySource("/models", staged))


def test_what_is_missing_is_named(staged: Path) -> None:
    source = sources.DirectorySource("/models/x", staged)
    manifest = (staged / model.MANIFEST).read_text()
    (staged / "extra.safetensors").write_bytes(b"")
    assert "extra.safetensors is not in .staged-model.json" in failure(source)
    (staged / "extra.safetensors").unlink()
    (staged / "README.md").write_text("short")
    assert "README.md has 5 bytes instead of" in failure(source)
    (staged / "README.md").unlink()
    assert "README.md is missing" in failure(source)
    (staged / model.MANIFEST).unlink()
    assert "there is no .staged-model.json at /models/x" in failure(source)
    (staged / model.MANIFEST).write_text("{}")
    assert "cannot be read" in failure(source)
    (staged / model.MANIFEST).write_text(manifest)
    (staged / "tokenizer.json").unlink()
    assert failure(source).startswith("OSError: Can't load tokenizer for '/models/x'")
    for shard in staged.glob("*.safetensors"):
        shard.unlink()
    assert failure(source) == "RuntimeError: Cannot find any model weights with `/models/x`"
    (staged / "config.json").unlink()
    assert failure(source).startswith("ValueError: Invalid repository ID or local directory specified: '/models/x'")


def test_weights_that_cannot_be_read_have_the_librarys_error(staged: Path) -> None:
    source = sources.DirectorySource("/models", staged)
    shard = staged / "model-00001-of-00002.safetensors"
    whole = shard.read_bytes()
    for content, what in (
        (whole[:-100], "MetadataIncompleteBuffer"),
        (whole[:5], "HeaderTooSmall"),
        (b"\xff" * 8 + whole[8:], "HeaderTooLarge"),
        (whole[:8] + b"\0" * 20 + whole[28:], "InvalidHeader"),
    ):
        shard.write_bytes(content)
        write_manifest(staged)
        assert failure(source).startswith("safetensors_rust.SafetensorError: Error while deserializing header: " + what)
    shard.unlink()
    write_manifest(staged)
    assert failure(source).startswith("FileNotFoundError: [Errno 2] No such file or directory: '/models/model-00001")


def test_a_staged_prefix_is_streamed_from_s3(s3: S3Server, staged: Path) -> None:
    upload(s3, staged, "qwen/abc/")
    # botocore reads its credentials from the process's environment, as in a pod
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ(s3).items():
            patch.setenv(name, value)

        def opened(load_format: str, series: str) -> sources.Source:
            return sources.open_source(
                "s3://models/qwen/abc/", revision=None, load_format=load_format, series=series, environ=environ(s3)
            )

        source = opened("runai_streamer", "0.10")
        assert opened("auto", "0.32").sizes() == source.sizes()
        assert loaded(source).total_bytes == loaded(sources.DirectorySource("/models", staged)).total_bytes
        with pytest.raises(errors.EngineError, match="Cannot find any model weights"):
            opened("auto", "0.10")
        with pytest.raises(errors.EngineError, match="'load_format' must be"):
            opened("safetensors", "0.32")
        empty = sources.S3Source("s3://models/nothing/", environ(s3))
        assert failure(empty).startswith("ValueError: Invalid repository ID")
        missing = sources.S3Source("s3://nobucket/x/", environ(s3))
        assert "NoSuchBucket" in failure(missing)


def test_s3_refusals_are_botocores(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environ(s3, s3.denied).items():
        monkeypatch.setenv(name, value)
    said = failure(sources.S3Source("s3://models/x/", environ(s3)))
    assert said.startswith("botocore.")
    assert "An error occurred (AccessDenied) when calling the ListObjectsV2 operation: User: arn:aws:iam::" in said
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    said = failure(sources.S3Source("s3://models/x/", environ(s3)))
    assert said == "botocore.exceptions.NoCredentialsError: Unable to locate credentials"


def engine(*argv: str) -> int:
    return serve.main(["serve", *argv, "--port", "0", "--host", "127.0.0.1"])


def test_a_hub_model_needs_its_gate_opened(hub: HubServer, tmp_path: Path) -> None:
    def open_(repo_id: str, token: str = "", revision: str | None = None) -> sources.Source:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": token}
        return sources.open_source(repo_id, revision=revision, load_format="auto", series="0.32", environ=env)

    def refused(*arguments: str) -> str:
        with pytest.raises(errors.EngineError) as caught:
            open_(*arguments)
        return f"{caught.value.kind}: {caught.value.message}"

    gated = "meta-llama/Llama-3.1-8B-Instruct"
    said = refused(gated, hub.token_without_access)
    assert said.startswith(
        "OSError: You are trying to access a gated repo.\nMake sure to have access to it at"
        f" https://huggingface.co/{gated}.\n403 Client Error."
    )
    assert "is not a local folder and is not a valid model identifier" in refused("org/nothing", hub.token)
    assert "is not a valid git identifier" in refused(REPO, hub.token, "v9")
    assert "couldn't connect" in refused(REPO, "hf_wrong")
    found = loaded(open_(gated, hub.token))
    assert found.files == 4
    assert all(token not in said for token in (hub.token, hub.token_without_access))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("--max-model-len", "50000"),
            "User-specified max_model_len (50000) is greater than the derived max_model_len",
        ),
        (("-tp", "3"), "Total number of attention heads (8) must be divisible by tensor parallel size (3)."),
    ],
)
def test_options_that_do_not_fit_the_model(
    staged: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], text: str
) -> None:
    assert engine(str(staged), *options) == 1
    said = capsys.readouterr().err
    assert text in said
    assert said.rstrip().splitlines()[-2].startswith("pydantic_core._pydantic_core.ValidationError: 1 validation error")


def test_a_failing_core_is_reported_as_vllm_does(
    staged: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_ENGINE_FAIL", "cuda-oom")
    assert engine(str(staged)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any("[core.py:708] torch.OutOfMemoryError: CUDA out of memory." in line for line in lines)
    assert lines[-1] == "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


def test_a_port_that_is_taken(staged: Path, s3: S3Server, capsys: pytest.CaptureFixture[str]) -> None:
    port = s3.url.rpartition(":")[2]
    assert serve.main(["serve", str(staged), "--host", "127.0.0.1", "--port", port]) == 1
    assert "OSError: [Errno 98] Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "series", "said"),
    [
        (["--tokenizer-pool-size", "4"], "0.10", "vllm: error: unrecognized arguments: --tokenizer-pool-size 4"),
        (["--enable-prefix-caching", "False"], "0.10", "vllm: error: unrecognized arguments: False"),
        (["--max-model-len", "long"], "0.10", "Value long cannot be converted to <class 'int'>."),
        (["--max-num-seqs", "x"], "0.32", "argument --max-num-seqs: invalid int value: 'x'"),
        (["--model-loader-extra-config", "{"], "0.32", "Value { cannot be converted"),
    ],
)
def test_the_command_line_refuses(capsys: pytest.CaptureFixture[str], argv: list[str], series: str, said: str) -> None:
    with pytest.raises(SystemExit) as caught:
        arguments.parse(["serve", "org/model", *argv], series=series, environ={})
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_line_takes_what_presets_use() -> None:
    common = ["serve", "s3://models/x/", "--served-model-name", "org/x", "alias", "--max_model_len=8K", "-tp", "2"]
    found = arguments.parse(
        [*common, "--load-format", "runai_streamer", "--model-loader-extra-config", '{"concurrency":16}',
         "--gpu-memory-utilization", "0.8", "--no-enable-prefix-caching", "--trust-remote-code", "--api-key", "sesame"],
        series="0.10", environ={},
    )  # fmt: skip
    assert found.served_model_names == ("org/x", "alias")
    assert (found.max_model_len, found.tensor_parallel_size, found.load_format) == (8192, 2, "runai_streamer")
    assert found.api_keys == ("sesame",)
    assert "sesame" not in str(found.given)
    neuron = arguments.parse(
        ["serve", "org/x", "--tokenizer-pool-size", "4", "--max-parallel-loading-workers", "2", "--device", "neuron"],
        series="0.9", environ={},
    )  # fmt: skip
    assert neuron.served_model_names == ("org/x",)


def test_faults_have_to_be_known() -> None:
    assert "crash-after" in faults.read_faults({"SANDBOX_ENGINE_FAIL": "crash-after=2, empty-text"})
    for wrong in ("nonsense", "crash-after", "cuda-oom=1"):
        with pytest.raises(ValueError, match="SANDBOX_ENGINE_FAIL"):
            faults.read_faults({"SANDBOX_ENGINE_FAIL": wrong})
