"""Starts systems, measures their memory and CPU, and stops all their processes. Linux.

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
        answering: resident sets of the processes without children, i.e. without supervisors.
    """

    rss: float
    pss: float
    answering: float


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


def descendants() -> dict[int, list[int]]:
    """Process ids of all descendants, and the children of each."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(path)[1]), []).append(int(path.name))
    found: dict[int, list[int]] = {}
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found |= {pid: children.get(pid, []) for pid in below}
        waiting += below
    return found


def cpu_seconds() -> float:
    """CPU time of all descendants, including their reaped children."""
    total = 0
    for pid in descendants():
        with contextlib.suppress(OSError):
            total += sum(int(ticks) for ticks in _stat(Path(f"/proc/{pid}"))[11:15])
    return total * _TICK_S


def memory() -> Memory:
    """Memory of all descendants."""
    rss = pss = answering = 0.0
    for pid, below in descendants().items():
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.MULTILINE))
            own = int(kilobytes.get("Rss", 0)) * 1024 / 1e6
            rss += own
            answering += 0 if below else own
            pss += int(kilobytes.get("Pss", 0)) * 1024 / 1e6
    return Memory(rss=rss, pss=pss, answering=answering)


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
