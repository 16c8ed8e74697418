"""Workers that train together find each other before TensorFlow starts.

TensorFlow itself waits for a missing worker without a word. Here each worker listens on its own
address until it has reached all others once; then TensorFlow takes the port over. A worker that
looks for its peers later finds TensorFlow listening there, so nobody has to look at the same time.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence

from training.errors import TrainingError

# Between two looks at a peer, and until one of them is given up.
_PAUSE_S = 0.5
_CONNECT_S = 2.0
_TELL_EVERY_S = 10.0

log = logging.getLogger(__name__)


class MissingWorkersError(TrainingError):
    """Not all workers came in time; the message says which, and what was wrong with each."""


def meet(
    addresses: Sequence[str], index: int, patience: float, pause: Callable[[float], None]
) -> None:
    """Wait until every worker's address accepts connections; meanwhile one's own does.

    Args:
        addresses: HOST:PORT of each worker.
        index: which of them this process is.
        patience: seconds that the others may take.
        pause: waits for seconds; time.sleep.

    Raises:
        MissingWorkersError: they took longer.
        TrainingError: the own port is taken.
    """
    _, own_port = _host_and_port(addresses[index])
    missing = dict.fromkeys(sorted(set(range(len(addresses))) - {index}), "not tried yet")
    deadline = time.monotonic() + patience
    told = float("-inf")
    with contextlib.closing(_listen(own_port)):
        while True:
            missing = {peer: why for peer in missing if (why := _unreachable(addresses[peer]))}
            if not missing:
                log.info("all %d workers are there", len(addresses))
                return
            now = time.monotonic()
            if now > told + _TELL_EVERY_S:
                log.info("worker %d waits for %s", index, _described(missing, addresses))
                told = now
            if now > deadline:
                raise MissingWorkersError(
                    f"worker {index} waited {patience:g} s in vain for "
                    f"{_described(missing, addresses)}: "
                    "see whether these pods are scheduled and what their logs say"
                )
            pause(_PAUSE_S)


def _listen(port: int) -> socket.socket:
    try:
        # The system accepts for us: whoever has connected knows what it wanted to know.
        return socket.create_server(("", port), backlog=128)
    except OSError as error:
        raise TrainingError(f"cannot listen on this worker's port {port}: {error}") from error


def _unreachable(address: str) -> str:
    """Why an address does not accept connections; empty where it does."""
    try:
        socket.create_connection(_host_and_port(address), timeout=_CONNECT_S).close()
    except socket.gaierror:
        return "its name is not known yet"
    except OSError as error:
        return error.strerror or "no answer"
    return ""


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _described(missing: dict[int, str], addresses: Sequence[str]) -> str:
    return ", ".join(f"worker {n} at {addresses[n]} ({why})" for n, why in missing.items())
