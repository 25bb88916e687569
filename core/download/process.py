"""Who a run is: this process, and whether another one still lives."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process on a host. `start` tells two processes with the same pid apart (empty where the system cannot say)."""

    host: str
    pid: int
    start: str

    @classmethod
    def current(cls) -> "ProcessIdentity":
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _start_of(pid))

    def is_alive(self) -> bool | None:
        """Whether it still runs; None when it belongs to another host and cannot be asked."""
        if self.host != socket.gethostname():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return self.start == _start_of(self.pid)


def _start_of(pid: int) -> str:
    """Boot id and start tick of a process, from Linux's /proc: a pid used again, even after a restart, differs."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] == "Z" else f"{boot}:{fields[19]}"
