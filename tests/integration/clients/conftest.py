"""The toy model server, and gateways in front of it."""

import pytest

from tests.integration.gateway.conftest import start_gateway, toy_server

__all__ = ["start_gateway", "toy_server"]


@pytest.fixture
def host() -> str:
    """The HTTP server of the gateways."""
    return "gunicorn"
