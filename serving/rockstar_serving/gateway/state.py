"""What every request of one application shares."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flask import current_app

from rockstar_client.backend import Backend
from rockstar_serving.gateway.config import GatewayConfig
from rockstar_serving.gateway.observer import Observer
from rockstar_serving.gateway.predicting import GatewayPredictor
from rockstar_serving.gateway.seldom import Seldom
from rockstar_serving.gateway.uploads import Uploads


class ServedModels:
    """The names of the models that are served; they change where a models.config is followed."""

    def __init__(self, names: Iterable[str]) -> None:
        """Begin with these names."""
        self.names = tuple(names)
        self._on_removal: list[Callable[[str], None]] = []

    def on_removal(self, forget: Callable[[str], None]) -> None:
        """Have a function called with the name of each model that is served no more."""
        self._on_removal.append(forget)

    def replace(self, names: Iterable[str]) -> None:
        """Serve these models from now on."""
        before, self.names = self.names, tuple(names)
        for name in set(before) - set(self.names):
            for forget in self._on_removal:
                forget(name)


@dataclass(frozen=True)
class Gateway:
    """Settings, the model server, the predictor that remembers its contracts, and who looks on.

    Attributes:
        config: settings.
        served: the names of the models.
        aliases: further names that callers can ask for.
        backend: the model server, for tensors as they are.
        predictor: predicts by a model's contract.
        observer: told what happens.
        stopping: whether the gateway is about to stop.
        outages: logs that the model server cannot be reached.
        uploads: ends those that take too long.
    """

    config: GatewayConfig
    served: ServedModels
    aliases: tuple[str, ...]
    backend: Backend
    predictor: GatewayPredictor
    observer: Observer
    stopping: Callable[[], bool]
    outages: Seldom
    uploads: Uploads


def gateway() -> Gateway:
    """The gateway that the current request came to."""
    state: Gateway = current_app.extensions["gateway"]
    return state
