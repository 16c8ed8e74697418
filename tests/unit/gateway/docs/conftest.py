import json

import pytest

from rockstar_serving.gateway.app import create_app
from tests.unit.gateway.conftest import LIMITED, FakeServer


@pytest.fixture
def server():
    return FakeServer.of_all_kinds()


@pytest.fixture
def app(server):
    return create_app(LIMITED, server)


@pytest.fixture
def http(app):
    return app.test_client()


@pytest.fixture
def document(http):
    return json.loads(http.get("/openapi.json").data)
