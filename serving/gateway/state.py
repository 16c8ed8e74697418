"""What every request of one application shares."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app

from clients.backend import Backend
from serving.gateway.config import GatewayConfig
from serving.gateway.observer import Observer
from serving.gateway.predicting import GatewayPredictor
from serving.gateway.seldom import Seldom
from serving.gateway.turns import Turns
from serving.gateway.uploads import Uploads


@dataclass(frozen=True)
class Gateway:
    """Settings, the model server, the predictor that remembers its contracts, and who looks on.

    Attributes:
        config: settings.
        known_models: names that callers can ask for: configured models, and aliases.
        backend: the model server, for tensors as they are.
        predictor: predicts by a model's contract.
        observer: told what happens.
        stopping: whether the gateway is about to stop.
        outages: logs that the model server cannot be reached.
        turns: how requests take turns.
        uploads: ends those that take too long.
    """

    config: GatewayConfig
    known_models: tuple[str, ...]
    backend: Backend
    predictor: GatewayPredictor
    observer: Observer
    stopping: Callable[[], bool]
    outages: Seldom
    turns: Turns
    uploads: Uploads


def gateway() -> Gateway:
    """The gateway that the current request came to."""
    state: Gateway = current_app.extensions["gateway"]
    return state
