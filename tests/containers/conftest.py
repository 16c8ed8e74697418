"""The images, built once for all tests, and containers of a model server and a gateway."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.demo import read_held_out
from rockstar_client.http import HttpClient
from tests.containers.engine import Container, Engine, missing
from tests.containers.stand_in import make_stand_in
from tests.waiting import until

ROOT = Path(__file__).parents[2]
MODELS = ("logistic", "mlp", "cnn")


@pytest.fixture(scope="session")
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    if trouble := missing():
        # Explicitly requested, so fail instead of skipping.
        (pytest.fail if request.config.getoption("--images") == "all" else pytest.skip)(trouble)
    engine = Engine(tmp_path_factory.mktemp("engine"), dict(os.environ))
    try:
        base = request.config.getoption("--python-image")
        engine.use_base(base or make_stand_in(engine.environment), pull=bool(base))
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="session")
def gateway_image(engine: Engine) -> str:
    return engine.build(ROOT / "Dockerfile.cpu", "gateway", "--build-arg=REVISION=abc123")


@pytest.fixture(scope="session")
def model_server_image(engine: Engine, trained_models) -> str:
    models = f"--build-context=models={trained_models.workdir / 'models'}"
    return engine.build(ROOT / "Dockerfile.cpu", "model-server", models)


@pytest.fixture(scope="session")
def trainer_image(request: pytest.FixtureRequest, engine: Engine) -> str:
    if request.config.getoption("--images") != "all":
        pytest.skip("the image with TensorFlow takes minutes: make images-test")
    return engine.build(ROOT / "Dockerfile.cpu", "trainer")


@dataclass(frozen=True)
class Pair:
    """A model server, and a gateway in front of it."""

    model_server: Container
    gateway: Container

    @property
    def url(self) -> str:
        return f"http://{self.gateway.address}:8080"


@pytest.fixture(scope="session")
def start_pair(engine: Engine, gateway_image: str, model_server_image: str):
    """Starts a pair with additional options, and returns when every model responds."""

    def start(*options: str, models: tuple[str, ...] = MODELS) -> Pair:
        model_server = engine.start(model_server_image, options=options)
        settings = (
            f"--env=ROCKSTAR_UPSTREAM={model_server.address}:8500",
            f"--env=ROCKSTAR_MODELS={' '.join(models)}",
        )
        gateway = engine.start(gateway_image, options=(*options, *settings))
        pair = Pair(model_server, gateway)
        ready = ("python", "-m", "rockstar_serving.probe", "http://127.0.0.1:8080/readyz")
        try:
            until(lambda: gateway.run(*ready).returncode == 0, 60, "a ready gateway")
        except AssertionError as error:
            raise AssertionError(f"{error}: {model_server.logs()}{gateway.logs()}") from error
        return pair

    return start


@pytest.fixture(scope="session")
def held_out(trained_models):
    """Held-out images, and their predictions in training."""
    return read_held_out(trained_models.workdir / "runs" / "cnn-1")


@pytest.fixture
def ask():
    """Predict a PNG with a pair."""

    def ask(pair: Pair, model: str, png: bytes) -> str | None:
        with HttpClient(pair.url) as client:
            return client.predict(model, png).predictions[0].label

    return ask
