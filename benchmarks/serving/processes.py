"""Starts systems, measures memory and CPU of their processes, and stops them all. Linux.

This process adopts orphans of its descendants (PR_SET_CHILD_SUBREAPER), to measure and stop a
system's daemons too. One system runs at a time: all descendants of this process belong to it,
except the load generator, which has exited before anything is measured.
"""

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

_PR_SET_CHILD_SUBREAPER = 36
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_STOP_TIMEOUT_S = 15.0


class Memory(msgspec.Struct, frozen=True):
    """Memory of all processes of a system in MB.

    Attributes:
        rss: resident sets; shared pages count for each process.
        pss: proportional sets; shared pages count once.
    """

    rss: float
    pss: float


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def free_ports(count: int) -> list[int]:
    """Free ports of this machine."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def started(
    command: list[str], folder: Path, variables: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process, and stop it with all its descendants at the end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ROCKSTAR"))}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def descendants() -> set[int]:
    """Process ids of all descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(path)[1]), []).append(int(path.name))
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


@dataclass(frozen=True)
class Cpu:
    """CPU time until now, in seconds.

    Attributes:
        system: of all descendants, including their reaped children.
        own: of this process and its reaped children, such as load generators.
        busy: of all processes of the machine, with the time taken by other machines of the host.
        total: of all cores, busy or idle.
    """

    system: float
    own: float
    busy: float
    total: float

    def __sub__(self, before: "Cpu") -> "Cpu":
        """CPU time between two moments."""
        return Cpu(
            self.system - before.system,
            self.own - before.own,
            self.busy - before.busy,
            self.total - before.total,
        )

    @property
    def foreign(self) -> float:
        """Share of the cores' time that went to processes that have nothing to do with this one."""
        return max(0.0, self.busy - self.system - self.own) / self.total


def cpu() -> Cpu:
    """CPU time until now."""
    ticks = 0
    for pid in descendants():
        with contextlib.suppress(OSError):
            ticks += sum(int(each) for each in _stat(Path(f"/proc/{pid}"))[11:15])
    own = os.times()
    # user, nice, system, idle, waiting for disks, interrupts (2), stolen; guests are part of user.
    machine = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return Cpu(
        system=ticks * _TICK_S,
        own=own.user + own.system + own.children_user + own.children_system,
        busy=(sum(machine) - machine[3] - machine[4]) * _TICK_S,
        total=sum(machine) * _TICK_S,
    )


def memory() -> Memory:
    """Memory of all descendants."""
    total = {"Rss": 0, "Pss": 0}
    for pid in descendants():
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            for name, kilobytes in re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.MULTILINE):
                total[name] += int(kilobytes)
    return Memory(rss=total["Rss"] * 1.024e-3, pss=total["Pss"] * 1.024e-3)


def _stat(path: Path) -> list[str]:
    """Fields of /proc/PID/stat from the third on; the name before them may contain spaces."""
    return (path / "stat").read_text().rpartition(")")[2].split()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the process, which stops its children, and SIGKILL to remaining ones."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while (remaining := descendants()) and time.monotonic() < deadline:
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
        _reap()
        time.sleep(0.05)


def _reap() -> None:
    """Reap adopted processes."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
