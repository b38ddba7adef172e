"""Which process holds a journal, and whether it lives: known at once on the same machine, else by its heartbeat."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Holder(BaseModel):
    """A process, so that another one on the same machine can tell whether it still runs.

    Attributes:
        host: Host name; in a pod the pod's name.
        boot: Identifies the machine's boot; empty where the system does not say.
        pid: Process id.
        started: When the process started, in the kernel's ticks; tells a process from a later one with its number.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    boot: str
    pid: int
    started: str

    def is_dead(self) -> bool:
        """Whether it is known to have ended: only ever so on the machine where it ran."""
        me = this_process()
        if (self.host, self.boot) != (me.host, me.boot) or not self.boot:
            return False
        return _started(self.pid) != self.started


@cache
def this_process() -> Holder:
    """The running process."""
    return Holder(host=socket.gethostname(), boot=_boot(), pid=os.getpid(), started=_started(os.getpid()))


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Field 22 of /proc/PID/stat, counted after the name, which may hold anything; empty for no process or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]
