"""Reads a file of a pinned model from the Hub, range by range, wherever its bytes lie at the moment."""

from __future__ import annotations

import threading
from urllib.parse import urljoin, urlsplit

from serving.errors import HubError
from serving.models import PinnedModel
from staging.hub import HubAccess, HubFile, Location, resolve, resolve_url
from staging.hub_errors import bad_token, by_status, gated
from staging.wire import Readable, Wire, WireFault

REFUSALS = 4
"""How often in a row a freshly signed address may be refused."""
PASSING = frozenset({"hub.unreachable", "hub.rate_limited"})


class SourceFile:
    """One file on the Hub. Threads share it, and so the address that was resolved once.

    Args:
        model: The pinned model.
        file: The file.
        hub: How to reach it.
        direct: Ask the Hub for the bytes at once and follow its redirect, instead of resolving first: one request
            for a small file that lies in git itself.
    """

    def __init__(self, model: PinnedModel, file: HubFile, hub: HubAccess, *, direct: bool = False) -> None:
        self.file = file
        self._model, self._hub, self._direct = model, hub, direct
        self._lock = threading.Lock()
        self._location: Location | None = None
        self._refusals = 0

    def open(self, wire: Wire, start: int, end: int) -> Readable:
        """Ask for a range of the file.

        Raises:
            WireFault: A fault that a repetition may overcome.
            HubError: The Hub refuses this file for good.
        """
        while True:
            location = self._resolved()
            headers = self._hub.headers() if location.on_hub else {}
            try:
                body = wire.get(location.url, headers, start, end, self.file.size)
            except WireFault as fault:
                if fault.kind != "status":
                    raise
                self._refused(location, fault)
            else:
                self._refusals = 0
                return body

    def _resolved(self) -> Location:
        with self._lock:
            if self._location is None:
                self._location = self._locate()
            return self._location

    def _locate(self) -> Location:
        if self._direct:
            return Location(resolve_url(self._model, self.file.path, self._hub), on_hub=True)
        try:
            return resolve(self._model, self.file.path, self._hub)
        except HubError as error:
            if error.code in PASSING:
                raise WireFault("broken", error.what) from error
            raise

    def _refused(self, location: Location, fault: WireFault) -> None:
        """Decide what an error answer means: returns if another address should be tried at once.

        Raises:
            WireFault: It may pass.
            HubError: It is final.
        """
        redirect = 300 <= fault.status < 400 and fault.code
        if not redirect and fault.status not in {400, 401, 403, 404, 410}:
            raise fault
        if location.on_hub and not redirect:
            raise self._explained(fault)
        with self._lock:
            self._refusals += 1
            if self._refusals > REFUSALS:
                raise HubError(
                    f"The Hub's file host refuses {self.file.path} of {self._model.repo_id}: {fault.detail}.",
                    cause="Signed addresses that were just issued are not accepted; a proxy may change them or a "
                    "clock may be wrong.",
                    fix="Check this machine's clock and proxy and try again.",
                    code="hub.file_refused",
                )
            if self._location is location:
                target = urljoin(location.url, fault.code) if redirect else ""
                same = urlsplit(target).netloc == urlsplit(self._hub.endpoint).netloc
                self._location = Location(target, on_hub=same) if redirect else None

    def _explained(self, fault: WireFault) -> HubError:
        if fault.code == "GatedRepo":
            return gated(self._hub, self._model.repo_id)
        if fault.status == 401 and self._hub.token:
            return bad_token(self._hub)
        return by_status(fault.status, self._hub, self._model.repo_id)
