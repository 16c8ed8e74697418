"""Files that a gateway reads when it starts, and again on SIGHUP."""

from dataclasses import dataclass, field
from pathlib import Path

from rockstar_serving.gateway.config import GatewayConfig
from rockstar_serving.gateway.traffic.keys import Keys, KeysError, parse_keys, read_keys
from rockstar_serving.gateway.traffic.routes import Routes, RoutesError, read_routes


class FilesError(ValueError):
    """A file that cannot be used."""


@dataclass(frozen=True)
class Files:
    """What they say; made before the workers are forked, which share the counts of the keys."""

    routes: Routes = field(default_factory=Routes)
    keys: Keys = field(default_factory=lambda: Keys({}))


def read_files(config: GatewayConfig) -> Files:
    """Read those that the settings name.

    Raises:
        FilesError: one cannot be used; it names it.
    """
    try:
        routes = read_routes(Path(config.routes)) if config.routes else Routes()
        keys = parse_keys(config.api_keys)
        if config.api_keys_file:
            keys |= read_keys(Path(config.api_keys_file))
        return Files(routes, Keys(keys, config.rate_limit))
    except (RoutesError, KeysError) as error:
        raise FilesError(str(error)) from error
