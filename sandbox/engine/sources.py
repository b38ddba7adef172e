"""Where the engine's files are: a directory, a prefix in S3, or a repository of the Hub."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from sandbox.engine import errors

_CHUNK = 8 << 20


class Source(Protocol):
    """Files of one model.

    Attributes:
        name: What the command line calls it.
        staged: Whether a manifest has to be with the files.
    """

    name: str
    staged: bool

    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file, by its path."""

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of a file, piece by piece."""


def read(source: Source, path: str) -> bytes:
    """The whole content of a file."""
    return b"".join(source.chunks(path))


class DirectorySource:
    """A directory; one that the Hub's client filled (`staged` False) has no manifest."""

    def __init__(self, name: str, directory: Path, *, staged: bool = True) -> None:
        self.name = name
        self.staged = staged
        self._directory = directory

    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file, by its path."""
        files = (path for path in self._directory.rglob("*") if path.is_file())
        return {str(path.relative_to(self._directory)): path.stat().st_size for path in files}

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of a file, piece by piece."""
        with (self._directory / path).open("rb") as stream:
            while piece := stream.read(_CHUNK):
                yield piece


class S3Source:
    """A prefix in S3, read with the environment's credentials as the engine's streamer reads it."""

    staged = True

    def __init__(self, uri: str, environ: Mapping[str, str]) -> None:
        import botocore.session
        from botocore.config import Config

        parts = urlsplit(uri)
        self.name = uri
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        style: Literal["path", "auto"] = (
            "path" if environ.get("RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING") == "0" else "auto"
        )
        self._client: Any = botocore.session.get_session().create_client(
            "s3",
            region_name=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
            endpoint_url=environ.get("RUNAI_STREAMER_S3_ENDPOINT") or environ.get("AWS_ENDPOINT_URL") or None,
            config=Config(s3={"addressing_style": style}),
        )

    def sizes(self) -> Mapping[str, int]:
        """Bytes of every object below the prefix, by its path."""
        found: dict[str, int] = {}
        with _s3_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for entry in page.get("Contents", []):
                    found[entry["Key"].removeprefix(self._prefix)] = entry["Size"]
        return found

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of an object, piece by piece."""
        with _s3_errors():
            body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path)["Body"]
            yield from body.iter_chunks(_CHUNK)


@contextmanager
def _s3_errors() -> Iterator[None]:
    """Turns botocore's exceptions into the end of the traceback that the real engine would show."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise errors.EngineError(
            f"{type(error).__module__}.{type(error).__name__}",
            str(error),
            frames=(("vllm/transformers_utils/runai_utils.py", "pull_files"), ("botocore/client.py", "_api_call")),
        ) from None


def open_source(
    model: str, *, revision: str | None, load_format: str, series: str, environ: Mapping[str, str]
) -> Source:
    """The source that the engine's MODEL argument names.

    Args:
        model: Prefix in S3, directory, or repository of the Hub.
        revision: Branch, tag or commit of a repository.
        load_format: As on the command line.
        series: Release series: later ones stream from S3 by themselves.
        environ: Addresses and credentials.

    Raises:
        EngineError: It cannot be reached, as the real engine would put it.
    """
    if model.startswith("s3://"):
        _check_load_format(model, load_format, series)
        return S3Source(model, environ)
    if os.path.isdir(model):
        return DirectorySource(model, Path(model))
    if model.startswith(("/", "./")) or model.count("/") > 1:
        raise errors.cannot_find_config(model)
    return DirectorySource(model, _download(model, revision, environ), staged=False)


def _check_load_format(model: str, load_format: str, series: str) -> None:
    if load_format in ("runai_streamer", "runai_streamer_sharded"):
        return
    if series in ("0.9", "0.10"):  # these pull configuration and tokenizer, and find no weights beside them
        raise errors.cannot_find_weights(model)
    if load_format != "auto":
        text = (
            "To load a model from object storage (S3/GCS/Azure), 'load_format' must be 'modelexpress', 'runai_streamer'"
            f" or 'runai_streamer_sharded', but got '{load_format}'. Model: {model}"
        )
        raise errors.invalid_config("VllmConfig", text)


def _download(repo_id: str, revision: str | None, environ: Mapping[str, str]) -> Path:
    import httpx2
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    frames = (("transformers/utils/hub.py", "cached_files"),)
    try:
        found = snapshot_download(
            repo_id,
            revision=revision,
            allow_patterns=["*.safetensors", "*.json", "*.jinja"],
            endpoint=environ.get("HF_ENDPOINT") or None,
            token=environ.get("HF_TOKEN") or None,
            cache_dir=f"{environ['HF_HOME']}/hub" if environ.get("HF_HOME") else None,
        )
    except hub.GatedRepoError as error:
        text = f"You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/{repo_id}."
        raise errors.EngineError("OSError", f"{text}\n{error}", frames=frames) from None
    except hub.RevisionNotFoundError:
        text = (
            f"{revision} is not a valid git identifier (branch name, tag name or commit id) that exists for this model"
            f" name. Check the model page at 'https://huggingface.co/{repo_id}' for available revisions."
        )
        raise errors.EngineError("OSError", text, frames=frames) from None
    except hub.RepositoryNotFoundError as error:
        text = (
            f"{repo_id} is not a local folder and is not a valid model identifier listed on"
            " 'https://huggingface.co/models'\nIf this is a private repository, make sure to pass a token having"
            " permission to this repo either by logging in with `hf auth login` or by passing `token=<your_token>`"
        )
        raise errors.EngineError("OSError", f"{text}\n{error}", frames=frames) from None
    except (hub.HfHubHTTPError, hub.LocalEntryNotFoundError, httpx2.TransportError) as error:
        text = (
            "We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached"
            f" files.\nCheck your internet connection.\n{error}"
        )
        raise errors.EngineError("OSError", text, frames=frames) from None
    return Path(found)
