"""The gateway under gunicorn."""

from typing import Any

from gunicorn.app.base import BaseApplication

from serving.gateway.config import GatewayConfig

# For what is refused, and for probes: neither has to wait for room.
_SPARE_THREADS = 4


class GatewayServer(BaseApplication):  # type: ignore[misc]
    """gunicorn with threaded workers, each with an application and a connection of its own."""

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
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

        return create_app(self._config)
