"""Addresses for pods and nodes: a /16 of the loopback network that no other sandbox on this machine uses."""

import random
import socket
from pathlib import Path

KUBELET_PORT = 10250
PODSITE = Path(__file__).with_name("podsite")
"""Directory that is put first on the `PYTHONPATH` of pods: see its `sitecustomize.py`."""

_FIRST, _LAST = 64, 254
_PER_BLOCK = 253


class Subnet:
    """A part 127.x.0.0/16 of the loopback network, claimed for as long as this object is open.

    Linux answers on every address of 127.0.0.0/8 without setting anything up; other systems do not, and the
    sandbox's nodes run on Linux only.

    Raises:
        OSError: every part is taken, or the machine has no such loopback network.
    """

    def __init__(self) -> None:
        self._claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._prefix = self._claim_one()
        self._nodes = 0
        self._next = 0
        self._used: set[str] = set()

    def _claim_one(self) -> str:
        """Bind the port of the first node's kubelet: whoever holds it owns the subnet."""
        failure = OSError("no part of the loopback network is free")
        for number in random.sample(range(_FIRST, _LAST + 1), _LAST - _FIRST + 1):
            try:
                self._claim.bind((f"127.{number}.255.1", KUBELET_PORT))
            except OSError as error:
                failure = error
            else:
                return f"127.{number}"
        raise failure

    def node_address(self) -> str:
        """An address for one more node."""
        self._nodes += 1
        return f"{self._prefix}.255.{self._nodes}"

    def take(self) -> str:
        """An address for one more pod; one that was given back comes again as late as possible."""
        for _ in range(_PER_BLOCK * 250):
            block, host = divmod(self._next, _PER_BLOCK)
            self._next = (self._next + 1) % (_PER_BLOCK * 250)
            address = f"{self._prefix}.{block}.{host + 2}"
            if address not in self._used:
                self._used.add(address)
                return address
        raise OSError("every pod address is in use")

    def give_back(self, address: str) -> None:
        """The pod of this address is gone."""
        self._used.discard(address)

    def close(self) -> None:
        """Let others claim the subnet."""
        self._claim.close()
