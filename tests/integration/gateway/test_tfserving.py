"""TensorFlow Serving's REST API through a gateway: golden requests, and a client with a key."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from rockstar_serving.model_server.models.config import read_config_file
from rockstar_serving.model_server.options import LoadOptions, RestOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests import rest_cases
from tests.integration.gateway.conftest import Gateway, running

# Intended differences from a model server.
OURS = {
    "route_models": "it lists the models",
    "route_outside": "its page is there",
    "cors_predict": "it says which sites may ask, and tells them of its own headers",
    "cors_error": "likewise",
    "cors_preflight": "likewise",
    "cors_preflight_without_origin": "OPTIONS is answered without Origin, too",
}


@pytest.fixture(scope="module")
def upstream(golden_models: Path) -> Iterator[int]:
    options = ServerOptions(
        read_config_file(golden_models),
        rest=RestOptions(port=None),
        load=LoadOptions(allow_labels_for_unavailable=True),
    )
    with ModelServer(options) as server:
        yield server.grpc_port or 0


@pytest.fixture(scope="module")
def gateway(
    upstream: int, host: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    log = tmp_path_factory.mktemp("gateway") / "log"
    with running(upstream, log, "--model=half_plus", "--workers=1", server=host) as gateway:
        yield gateway


@pytest.mark.parametrize("name", sorted(set(rest_cases.names()) - OURS.keys()))
def test_responses_equal_those_of_the_model_server(gateway: Gateway, name: str) -> None:
    address = gateway.url.removeprefix("http://")
    assert rest_cases.replay(name, address, embedded=True) == []


def test_intended_differences(gateway: Gateway) -> None:
    address = gateway.url.removeprefix("http://")
    assert all(rest_cases.replay(name, address, embedded=True) for name in OURS)


def test_a_client_gains_keys_limits_and_metrics(upstream: int, host: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    digest = hashlib.sha256(b"key").hexdigest()
    scraper = hashlib.sha256(b"scraper").hexdigest()
    keys.write_text(
        f"[keys.alice]\nsha256 = '{digest}'\nmodels = ['half_plus']\nrate = '4/day'\n"
        f"[keys.prometheus]\nsha256 = '{scraper}'\nmodels = []\n"
    )
    arguments = (f"--api-keys-file={keys}", "--model=half_plus", "--workers=1")
    with (
        running(upstream, tmp_path / "log", *arguments, server=host) as gateway,
        requests.Session() as session,
    ):
        models = f"{gateway.url}/v1/models"
        url = f"{models}/half_plus/versions/1:predict"
        refused = session.post(url, json={"instances": [1.0]}, timeout=20)
        assert refused.status_code == 401
        assert refused.json()["error"].startswith("An API key is needed.")

        session.headers["Authorization"] = "Bearer key"
        answer = session.post(url, json={"instances": [1.0, 2.0]}, timeout=20)
        assert answer.json() == {"predictions": [2.5, 3.0]}
        assert len(answer.headers["X-Request-ID"]) == 32
        state = session.get(f"{models}/half_plus/versions/1", timeout=20).json()
        assert state["model_version_status"][0]["version"] == "1"
        metadata = session.get(f"{models}/half_plus/metadata", timeout=20).json()
        assert metadata["model_spec"]["version"] == "2"
        other = session.post(f"{models}/numbers:predict", json={"inputs": [1]}, timeout=20)
        assert (other.status_code, list(other.json())) == (403, ["error"])

        assert session.get(f"{models}/half_plus", timeout=20).status_code == 200
        late = session.get(f"{models}/half_plus", timeout=20)
        assert (late.status_code, list(late.json())) == (429, ["error"])
        assert int(late.headers["Retry-After"]) > 0

        headers = {"Authorization": "Bearer scraper"}
        counted = requests.get(f"{gateway.url}/metrics", headers=headers, timeout=20).text
        assert 'route="/v1/models/<model>/versions/<version>:predict",status="200"' in counted
