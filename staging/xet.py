"""Reads files through hf_xet's streams instead of plain HTTP, a range at a time and within a bound of memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from serving.errors import InputError
from serving.models import PinnedModel
from staging.hub import HubAccess, HubFile
from staging.hub_errors import unreachable
from staging.source import SourceFile
from staging.wire import Readable, Wire, WireFault

BUFFER = 16_000_000
"""Bytes that hf_xet may hold in all; its own default is 1.6 GB."""


class Transport(StrEnum):
    """How files come from the Hub.

    ``auto`` is plain HTTP: it gives every file of a Hub, was measured faster than hf_xet's streams and holds less
    memory. ``xet`` reads the files that the Hub stores with Xet through hf_xet, the others by HTTP.
    """

    AUTO = "auto"
    HTTP = "http"
    XET = "xet"


class XetReader:
    """hf_xet's connections for one model, made when first needed.

    Args:
        model: The pinned model.
        hub: How to reach the Hub, which gives a token for its Xet storage.
    """

    def __init__(self, model: PinnedModel, hub: HubAccess) -> None:
        self._model, self._hub = model, hub
        self._lock = threading.Lock()
        self._group: Any = None

    def stream(self, file: HubFile, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a range, in order.

        Raises:
            WireFault: The storage cannot be reached.
            HubError: The Hub gives no token.
        """
        from hf_xet import XetFileInfo  # type: ignore[import-untyped, unused-ignore]

        with self._lock:
            if self._group is None:
                self._group = self._connect()
            group = self._group
        found: Iterator[bytes] = group.download_stream(XetFileInfo(file.xet_hash, file.size), start=start, end=end)
        return found

    def _connect(self) -> Any:
        import httpx2
        from hf_xet import XetConfig, XetSession
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils._xet import (
            XetFileData,
            XetTokenType,
            refresh_xet_connection_info,
            xet_connection_info_refresh_url,
        )

        model, hub, headers = self._model, self._hub, self._hub.headers()
        url = xet_connection_info_refresh_url(
            token_type=XetTokenType.READ,
            repo_id=model.repo_id,
            repo_type="model",
            revision=model.commit,
            endpoint=hub.endpoint,
        )
        try:
            info = refresh_xet_connection_info(file_data=XetFileData("", url), headers=headers)
        except (HfHubHTTPError, httpx2.TransportError, ValueError) as error:
            raise unreachable(hub, f"it gives no access to its Xet storage ({type(error).__name__})") from None
        limits = {
            "reconstruction.download_buffer_size": BUFFER,
            "reconstruction.download_buffer_limit": BUFFER,
            "reconstruction.download_buffer_perfile_size": BUFFER // 2,
            "reconstruction.min_reconstruction_fetch_size": BUFFER // 2,
            "reconstruction.max_reconstruction_fetch_size": BUFFER // 2,
            "reconstruction.min_prefetch_buffer": BUFFER // 2,
        }
        return XetSession(XetConfig().with_config(limits)).new_download_stream_group(
            endpoint=info.endpoint,
            token=info.access_token,
            token_expiry_unix_secs=info.expiration_unix_epoch,
            token_refresh_url=url,
            token_refresh_headers=headers,
        )


class XetFile(SourceFile):
    """A file that is read through hf_xet.

    Args:
        model: The pinned model.
        file: The file; has a Xet hash.
        hub: How to reach the Hub.
        reader: The model's connections.
    """

    def __init__(self, model: PinnedModel, file: HubFile, hub: HubAccess, reader: XetReader) -> None:
        super().__init__(model, file, hub)
        self._reader = reader

    def open(self, wire: Wire, start: int, end: int) -> Readable:  # noqa: ARG002
        """Begin to read a range.

        Raises:
            WireFault: The storage cannot be reached.
            HubError: The Hub gives no token.
        """
        try:
            return _XetBody(self._reader.stream(self.file, start, end))
        except (OSError, RuntimeError, ValueError) as error:
            raise WireFault("broken", f"hf_xet: {type(error).__name__}") from None


class _XetBody:
    """The bytes of a range as hf_xet gives them, cut to our pieces."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream = stream
        self._left = memoryview(b"")

    def read_into(self, view: memoryview) -> None:
        """Fill `view`.

        Raises:
            WireFault: The storage broke off or has too little.
        """
        done = 0
        while done < len(view):
            if not self._left:
                try:
                    self._left = memoryview(next(self._stream))
                except StopIteration:
                    raise WireFault("broken", "hf_xet gave fewer bytes than the file has") from None
                except (OSError, RuntimeError, ValueError) as error:
                    raise WireFault("broken", f"hf_xet: {type(error).__name__}") from None
            count = min(len(self._left), len(view) - done)
            view[done : done + count] = self._left[:count]
            self._left = self._left[count:]
            done += count

    def close(self) -> None:
        """Give up what was not read."""
        cancel = getattr(self._stream, "cancel", None)
        if cancel is not None:
            cancel()


def xet_reader(transport: Transport, model: PinnedModel, hub: HubAccess) -> XetReader | None:
    """What reads through Xet; None for plain HTTP.

    Raises:
        InputError: ``input.no_xet``.
    """
    if transport is not Transport.XET:
        return None
    try:
        import hf_xet  # noqa: F401
    except ImportError:
        raise InputError(
            "The transport xet was asked for, but hf_xet is not installed.",
            fix="Install hf_xet, or leave the transport at auto.",
            code="input.no_xet",
        ) from None
    return XetReader(model, hub)
