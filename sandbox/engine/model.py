"""Loading a model: every file verified against its manifest, and the tensors kept that choose the words."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sandbox.engine import errors
from sandbox.engine.sources import Source, read

MANIFEST = ".staged-model.json"
_EMBEDDING = "model.embed_tokens.weight"
_OUTPUT = "lm_head.weight"
_DTYPES: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
}
_HEADER_LIMIT = 100_000_000


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        config: Its config.json.
        tokenizer_json: The tokenizer.
        tokenizer_config: Settings of the tokenizer; the chat template is among them.
        embedding: A row for each token.
        output: A row for each token; the embedding itself where they are tied.
        files: Number of weight files.
        total_bytes: Bytes that were read and verified.
    """

    config: dict[str, Any]
    tokenizer_json: bytes
    tokenizer_config: dict[str, Any]
    embedding: "Matrix"
    output: "Matrix"
    files: int
    total_bytes: int


@dataclass(frozen=True)
class Matrix:
    """A matrix in its own number format; rows are widened when they are used."""

    data: npt.NDArray[np.generic]

    def rows(self, start: int, end: int) -> npt.NDArray[np.float32]:
        """Some rows as float32."""
        part = self.data[start:end]
        if part.dtype == np.uint16:  # bfloat16: the upper half of a float32
            return (part.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return part.astype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.data.shape


def read_config(source: Source) -> dict[str, Any]:
    """The model's config.json.

    Raises:
        EngineError: There is none that can be read.
    """
    if "config.json" not in source.sizes():
        raise errors.cannot_find_config(source.name)
    try:
        config: dict[str, Any] = json.loads(read(source, "config.json"))
    except ValueError as error:
        text = f"It looks like the config file at '{source.name}/config.json' is not a valid JSON file. ({error})"
        raise errors.EngineError("OSError", text) from None
    return config


def load(source: Source, config: dict[str, Any], progress: Callable[[int, int], None]) -> Model:
    """Read and verify everything.

    Args:
        source: Where the files are.
        config: The model's config.json.
        progress: Called with the number of weight files read, and of all.

    Raises:
        EngineError: Something is missing or not what it has to be.
    """
    sizes = source.sizes()
    manifest = _manifest(source) if source.staged else {}
    weights = sorted(path for path in sizes if path.endswith(".safetensors") and "/" not in path)
    if not weights:
        raise errors.cannot_find_weights(source.name)
    if "tokenizer.json" not in sizes:
        raise errors.cannot_load_tokenizer(source.name)
    _check_listing(sizes, manifest, weights, staged=source.staged)
    _check_index(source, sizes, weights)
    tensors: dict[str, Matrix] = {}
    total = 0
    for number, path in enumerate(weights):
        progress(number, len(weights))
        tensors |= _read_weights(source, path, sizes[path], manifest.get(path))
        total += sizes[path]
    progress(len(weights), len(weights))
    others = sorted(manifest.keys() - set(weights))
    for path in others:
        _verify(path, manifest[path]["sha256"], source.chunks(path))
        total += sizes[path]
    if _EMBEDDING not in tensors:
        raise errors.EngineError("KeyError", f"'{_EMBEDDING}'", in_core=True)
    if _OUTPUT not in tensors and not config.get("tie_word_embeddings"):
        raise errors.EngineError("KeyError", f"'{_OUTPUT}'", in_core=True)
    settings = json.loads(read(source, "tokenizer_config.json")) if "tokenizer_config.json" in sizes else {}
    if "chat_template.jinja" in sizes:
        settings["chat_template"] = read(source, "chat_template.jinja").decode()
    return Model(
        config=config,
        tokenizer_json=read(source, "tokenizer.json"),
        tokenizer_config=settings,
        embedding=tensors[_EMBEDDING],
        output=tensors.get(_OUTPUT, tensors[_EMBEDDING]),
        files=len(weights),
        total_bytes=total,
    )


def _manifest(source: Source) -> dict[str, dict[str, Any]]:
    if MANIFEST not in source.sizes():
        raise errors.not_as_staged(f"there is no {MANIFEST} at {source.name}")
    try:
        listed = json.loads(read(source, MANIFEST))["files"]
        return {entry["path"]: {"size": int(entry["size"]), "sha256": str(entry["sha256"])} for entry in listed}
    except (ValueError, KeyError, TypeError) as error:
        raise errors.not_as_staged(f"{MANIFEST} cannot be read ({type(error).__name__}: {error})") from None


def _check_listing(sizes: Any, manifest: dict[str, dict[str, Any]], weights: list[str], *, staged: bool) -> None:
    for path, entry in manifest.items():
        if path not in sizes:
            raise errors.not_as_staged(f"{path} is missing")
        if sizes[path] != entry["size"]:
            raise errors.not_as_staged(f"{path} has {sizes[path]} bytes instead of {entry['size']}")
    unlisted = [path for path in weights if path not in manifest] if staged else []
    if unlisted:
        raise errors.not_as_staged(f"{unlisted[0]} is not in {MANIFEST}")


def _check_index(source: Source, sizes: Any, weights: list[str]) -> None:
    index = "model.safetensors.index.json"
    if index not in sizes:
        return
    named = set(json.loads(read(source, index))["weight_map"].values())
    for path in sorted(named - set(weights)):
        raise errors.EngineError(
            "FileNotFoundError",
            f"[Errno 2] No such file or directory: '{source.name.rstrip('/')}/{path}'",
            in_core=True,
        )


def _read_weights(source: Source, path: str, size: int, entry: dict[str, Any] | None) -> dict[str, Matrix]:
    """Read one weight file once: hash all of it, and keep the bytes of the tensors that are wanted."""
    pieces = _Pieces(source.chunks(path))
    length_bytes = pieces.take(8)
    length = int.from_bytes(length_bytes, "little")
    if len(length_bytes) < 8 or length > min(_HEADER_LIMIT, size - 8):
        raise errors.broken_safetensors(path, "HeaderTooLarge" if len(length_bytes) == 8 else "HeaderTooSmall")
    try:
        header = json.loads(pieces.take(length))
    except ValueError:
        raise errors.broken_safetensors(path, "InvalidHeader") from None
    header.pop("__metadata__", None)
    end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if end + 8 + length != size:
        raise errors.broken_safetensors(path, "MetadataIncompleteBuffer")
    found: dict[str, Matrix] = {}
    position = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = tensor["data_offsets"]
        pieces.skip(start - position)
        if name in (_EMBEDDING, _OUTPUT):
            found[name] = _matrix(pieces.take(stop - start), tensor, path)
        else:
            pieces.skip(stop - start)
        position = stop
    digest = pieces.hexdigest()
    if entry is not None and digest != entry["sha256"]:
        raise errors.not_as_staged(f"{path} has SHA-256 {digest} instead of {entry['sha256']}")
    return found


def _matrix(data: bytes, tensor: dict[str, Any], path: str) -> Matrix:
    dtype = _DTYPES.get(tensor["dtype"])
    if dtype is None or len(data) != math.prod(tensor["shape"]) * dtype.itemsize:
        raise errors.broken_safetensors(path, f"InvalidTensor of type {tensor['dtype']}")
    return Matrix(np.frombuffer(data, dtype).reshape(tensor["shape"]))


def _verify(path: str, expected: str, chunks: Iterator[bytes]) -> None:
    digest = hashlib.sha256()
    for piece in chunks:
        digest.update(piece)
    if digest.hexdigest() != expected:
        raise errors.not_as_staged(f"{path} has SHA-256 {digest.hexdigest()} instead of {expected}")


class _Pieces:
    """Reads a stream forward by exact counts, and hashes all of it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self._digest = hashlib.sha256()

    def take(self, count: int) -> bytes:
        """The next bytes; fewer at the end."""
        return b"".join(bytes(part) for part in self._parts(count))

    def skip(self, count: int) -> None:
        """Pass over the next bytes."""
        for _ in self._parts(count):
            pass

    def hexdigest(self) -> str:
        """SHA-256 of the whole stream, its rest included."""
        self.skip(1 << 62)
        return self._digest.hexdigest()

    def _parts(self, count: int) -> Iterator[memoryview]:
        while count > 0:
            if not self._rest:
                piece = next(self._chunks, b"")
                if not piece:
                    return
                self._digest.update(piece)
                self._rest = memoryview(piece)
            part = self._rest[:count]
            self._rest = self._rest[len(part) :]
            count -= len(part)
            yield part
