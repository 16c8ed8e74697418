"""The gateway under gunicorn."""

import logging
from typing import Any

from gunicorn.app.base import BaseApplication

from serving.gateway.config import GatewayConfig
from serving.gateway.files import read_files
from serving.gateway.traffic.routes import RoutesError

log = logging.getLogger(__name__)

# For what is refused, and for probes: neither has to wait for room.
_SPARE_THREADS = 4


class GatewayServer(BaseApplication):  # type: ignore[misc]
    """gunicorn with threaded workers, each with an application and a connection of its own."""

    def __init__(self, config: GatewayConfig) -> None:
        """Read the files that the settings name.

        Raises:
            RoutesError: the routes cannot be used.
        """
        self._config = config
        self._files = read_files(config)
        super().__init__()

    def load_config(self) -> None:
        """Hand our settings to gunicorn."""
        config = self._config
        options: dict[str, Any] = {
            "bind": config.bind,
            "workers": config.workers,
            "threads": config.threads + config.queue + _SPARE_THREADS,
            "worker_class": "gthread",
            "graceful_timeout": config.grace,
            "timeout": max(30, int(config.max_request_timeout + config.grace)),
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "rockstar-gateway",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application; called in each worker, after the fork."""
        from serving.gateway.app import create_app

        return create_app(self._config, files=self._files)

    def reload(self) -> None:
        """On SIGHUP, before new workers take over from the old ones."""
        try:
            self._files = read_files(self._config)
            log.info("read the files again")
        except RoutesError as error:
            log.error("what was read before stays in force: %s", error)
        super().reload()
