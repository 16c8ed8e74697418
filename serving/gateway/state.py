"""What every request of one application shares."""

from dataclasses import dataclass

from flask import current_app

from clients.predictor import Backend, Predictor
from serving.gateway.config import GatewayConfig


@dataclass(frozen=True)
class Gateway:
    """Settings, the model server, and the predictor that remembers its contracts."""

    config: GatewayConfig
    backend: Backend
    predictor: Predictor


def gateway() -> Gateway:
    """The gateway that the current request came to."""
    state: Gateway = current_app.extensions["gateway"]
    return state
