"""The state of one application, shared by all its requests."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass

from rockstar_serving.gateway.admission import Admission, Memory, Uploads
from rockstar_serving.gateway.api_keys import Keys
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.observers import Observer, RateLimitedLogger
from rockstar_serving.gateway.routing import RoutedBackend, RoutedPredictor
from rockstar_serving.gateway.settings import GatewayConfig


class ServedModels:
    """The names of the served models; they change if a models.config is followed."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._on_removal: list[Callable[[str], None]] = []

    def on_removal(self, forget: Callable[[str], None]) -> None:
        """Call a function with the name of each model that is removed."""
        self._on_removal.append(forget)

    def replace(self, names: Iterable[str]) -> None:
        """Serve these models from now on."""
        before, self.names = self.names, tuple(names)
        for name in set(before) - set(self.names):
            for forget in self._on_removal:
                forget(name)


@dataclass(frozen=True)
class Gateway:
    """The parts of an application.

    Attributes:
        config: settings.
        keys: the API keys; if there are none, nobody needs one.
        served: names of the models.
        aliases: other names for them.
        backend: the model server, for tensors.
        predictor: the model server, for examples: it applies contracts.
        observer: notified of events.
        stopping: whether the gateway is about to stop.
        outages: logs that the model server is unreachable.
        admission: limits concurrent requests.
        memory: limits what requests hold in memory.
        uploads: ends those that take too long.
        is_event_loop: whether requests run on an event loop; what takes longer runs in a thread.
    """

    config: GatewayConfig
    keys: Keys
    served: ServedModels
    aliases: tuple[str, ...]
    backend: RoutedBackend
    predictor: RoutedPredictor
    observer: Observer
    stopping: Callable[[], bool]
    outages: RateLimitedLogger
    admission: Admission
    memory: Memory
    uploads: Uploads
    is_event_loop: bool = False

    def visible(self, models: Iterable[str]) -> list[str]:
        """Those of some models that the caller's key gives access to."""
        caller = context().caller
        return [model for model in models if self.keys.gives_access(caller, model)]


_current: ContextVar[Gateway] = ContextVar("rockstar_gateway")
# gateway() returns the state of the application that handles the current request; outside a
# request it raises a LookupError.
gateway, set_gateway, reset_gateway = _current.get, _current.set, _current.reset
