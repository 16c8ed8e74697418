"""The gateway under gunicorn."""

from typing import Any

from gunicorn.app.base import BaseApplication

from serving.gateway.config import GatewayConfig

# Requests in flight at a stop may take this long, in seconds.
GRACE_S = 5


class GatewayServer(BaseApplication):  # type: ignore[misc]
    """gunicorn with threaded workers, each with an application and a connection of its own."""

    def __init__(self, config: GatewayConfig, *, bind: str, workers: int, threads: int) -> None:
        self._gateway = config
        self._options: dict[str, Any] = {
            "bind": bind,
            "workers": workers,
            "threads": threads,
            "worker_class": "gthread",
            "graceful_timeout": GRACE_S,
            "timeout": max(30, int(config.request_timeout_s) + GRACE_S),
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "rockstar-gateway",
        }
        super().__init__()

    def load_config(self) -> None:
        """Hand our settings to gunicorn."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application; called in each worker, after the fork."""
        from serving.gateway.app import create_app

        return create_app(self._gateway)
