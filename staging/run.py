"""What all threads of one staging share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from serving.errors import HubError, StagingError, StoreError
from serving.models import PinnedModel
from staging.checksum import Checksum
from staging.hashing import Mismatch
from staging.hub import HubAccess, HubFile
from staging.hub_errors import by_status
from staging.pieces import PiecePool
from staging.progress import Tally
from staging.retry import Patience, Repeats
from staging.store import StoreAccess, by_code
from staging.wire import WireFault
from staging.wire_pool import WirePool


class UplinkSlots:
    """How many parts may be sent by threads of their own at a time; the limit can change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = 0
        self.limit = 0

    def take(self) -> bool:
        """Take a slot if one is free."""
        with self._lock:
            free = self._taken < self.limit
            self._taken += free
            return free

    def free(self) -> None:
        """Give a slot back."""
        with self._lock:
            self._taken -= 1


@dataclass(frozen=True)
class Run:
    """One staging.

    Attributes:
        model: What is staged.
        hub: Where from.
        store: Where to; None in a worker, which only has signed addresses.
        patience: How long faults are put up with.
        stop: Set when the run ends before it is done.
        tally: Counters.
        pieces: The memory.
        uplinks: Connections to the store.
        uplink_slots: Who may have a thread for sending.
        checksum: Of parts and whole files.
    """

    model: PinnedModel
    hub: HubAccess
    store: StoreAccess | None
    patience: Patience
    stop: threading.Event
    tally: Tally
    pieces: PiecePool
    uplinks: WirePool
    checksum: Checksum
    uplink_slots: UplinkSlots = field(default_factory=UplinkSlots)

    def repeats(self) -> Repeats:
        """A fresh count of faults in a row."""
        return Repeats(self.patience, self.stop)

    def wait_for_hub(self, repeats: Repeats, fault: WireFault, file: HubFile) -> None:
        """As `Repeats.wait`, with the Hub's error at the end.

        Raises:
            HubError: Repeating did not help.
            Cancelled: The run ended.
        """
        self.tally.add(retries=1)
        try:
            repeats.wait(fault)
        except WireFault as last:
            raise self._hub_gave_up(last, file) from None

    def wait_for_store(self, repeats: Repeats, fault: WireFault) -> None:
        """As `Repeats.wait`, with the store's error at the end.

        Raises:
            StoreError: Repeating did not help.
            Cancelled: The run ended.
        """
        self.tally.add(retries=1)
        try:
            repeats.wait(fault)
        except WireFault as last:
            raise store_gave_up(self.store, last) from None

    def _hub_gave_up(self, fault: WireFault, file: HubFile) -> HubError:
        if fault.status == 429:
            return by_status(429, self.hub, self.model.repo_id)
        return HubError(
            f"The Hub stopped giving {file.path} of {self.model.repo_id}: {fault.detail}.",
            cause=f"Repeating it for {self.patience.seconds:g} s did not help.",
            fix="Start the run again when the Hub answers: it continues where this one stopped.",
            code="hub.unreachable",
        )

    def corrupt(self, file: HubFile, wrong: Mismatch) -> StagingError:
        """The error for a file whose bytes are twice not those that the Hub lists."""
        return StagingError(
            f"{file.path} of {self.model.repo_id} arrived with {wrong.kind} {wrong.actual} instead of "
            f"{wrong.expected}, twice.",
            cause="The Hub's file host or a proxy in between changes bytes. The file was not published.",
            fix="Try again without the proxy; if it stays so, tell the repository's owner.",
            code="staging.corrupt",
        )


def store_gave_up(store: StoreAccess | None, fault: WireFault) -> StoreError:
    """The error for a bucket that does not take a part in the end."""
    code = fault.code or (str(fault.status) if fault.status else "")
    return by_code(code, store, "s3:PutObject", fault.detail)
