"""The toy model server, and gateways in front of it."""

from tests.integration.gateway.conftest import start_gateway, toy_server

__all__ = ["start_gateway", "toy_server"]
