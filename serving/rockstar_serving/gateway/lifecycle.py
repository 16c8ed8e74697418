"""The life of a gateway's processes on either server: start, drain, and reload.

The parent of the workers keeps this state; workers that it forks share it.
"""

import logging
import mmap
import signal
from collections.abc import Callable
from typing import Any

from rockstar_serving.gateway.settings import FilesError, GatewayConfig, read_files
from rockstar_serving.gateway.shared_counts import SharedCounts

log = logging.getLogger(__name__)


class Lifecycle:
    """The state of a gateway that its processes share.

    Attributes:
        files: contents of the files that the settings name; a worker keeps those of its start.
        counts: the folder for metrics.
    """

    def __init__(self, config: GatewayConfig, on_ready: Callable[[str], None] | None) -> None:
        """Read the files that the settings name, and create the folder for metrics.

        Args:
            config: settings.
            on_ready: called with the address when the server listens; by default it is logged.

        Raises:
            FilesError: a file or the folder cannot be used.
        """
        self._config = config
        self._on_ready = on_ready
        self.files = read_files(config)
        self.counts = SharedCounts(config.metrics_dir)
        # Memory shared with the workers: 1 once the server is about to stop; number of reloads.
        self._shared = mmap.mmap(-1, 2)

    def stopping(self) -> bool:
        """Whether the server is about to stop: load balancers should send nothing new."""
        return self._shared[0] == 1

    def start_worker(self) -> Callable[[], bool]:
        """Prepare a worker process; returns a function whether it is about to be replaced."""
        # Not needed by the parent.
        from rockstar_contract.images import ignore_warnings

        ignore_warnings()
        self.counts.start_worker()
        # The model server logs successful loading once; not again in each worker.
        logging.getLogger("rockstar_serving.model_server").setLevel(logging.WARNING)
        reloads = self._shared[1]
        return lambda: self._shared[0] == 1 or self._shared[1] != reloads

    def announce(self, address: str) -> None:
        """Report the address at which the server listens."""
        if self._on_ready is not None:
            self._on_ready(address)
        elif not self._config.bind.startswith("fd://"):  # `rockstar serve` reports its own socket
            log.info("serving on %s (page to try it: /, API: /docs)", address)

    def drain_on_sigterm(self) -> None:
        """On SIGTERM make `/readyz` fail, and stop `drain` seconds later or at the next SIGTERM.

        Call it when the server has set its own signal handlers.
        """
        stop: Any = signal.getsignal(signal.SIGTERM)

        def drain(number: int, frame: Any) -> None:
            again, self._shared[0] = self.stopping(), 1
            if again or not self._config.drain:
                stop(number, frame)
                return
            signal.signal(signal.SIGALRM, lambda _, frame: stop(signal.SIGTERM, frame))
            signal.setitimer(signal.ITIMER_REAL, self._config.drain)

        signal.signal(signal.SIGTERM, drain)

    def retire_workers(self) -> None:
        """Make the clients of the present workers connect again, before these end."""
        self._shared[1] = (self._shared[1] + 1) % 256

    def reload(self) -> None:
        """Read the files again on SIGHUP, before new workers replace the old ones."""
        self.retire_workers()
        try:
            self.files = read_files(self._config)
            log.info("read the routes file and the API keys again")
        except FilesError as error:
            log.error("kept the earlier routes and API keys: %s", error)
