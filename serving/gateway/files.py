"""Files that a gateway reads when it starts, and again on SIGHUP."""

from dataclasses import dataclass
from pathlib import Path

from serving.gateway.config import GatewayConfig
from serving.gateway.traffic.routes import Routes, read_routes


@dataclass(frozen=True)
class Files:
    """What they say."""

    routes: Routes


def read_files(config: GatewayConfig) -> Files:
    """Read those that the settings name.

    Raises:
        RoutesError: the routes cannot be used.
    """
    return Files(read_routes(Path(config.routes)) if config.routes else Routes())
