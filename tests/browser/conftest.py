"""A real browser, and a gateway with trained models."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rockstar_client.tfserving import TFServingClient
from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.settings import GatewayConfig
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import ServerOptions
from rockstar_serving.model_server.server import ModelServer
from rockstar_training.config import CLASSIFIERS
from tests.http_servers import application

# Long, because the machine may be busy; no test here is about speed.
expect.set_options(timeout=180_000)


# Per module: Playwright runs an event loop, and no other can run in this thread meanwhile.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless and without a network."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium (.ci/run does)")
    with sync_playwright() as playwright:
        # The sandbox needs privileges that containers lack; the browser loads only our own pages.
        options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        yield playwright.chromium.launch(executable_path=chromium, args=options)


@contextmanager
def gateway(folder: Path, **settings: Any) -> Iterator[str]:
    """The URL of a gateway in front of a model server with the default models.

    As in rockstar serve, the gateway knows the folders of the models.
    """
    described = " ".join(
        f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" }}'
        for name in CLASSIFIERS
    )
    configs = tuple(ModelConfig(name, folder / name) for name in CLASSIFIERS)
    # Other processes use the folder of the models, too.
    with NamedTemporaryFile("w") as file, ModelServer(ServerOptions(configs)) as models:
        file.write(f"model_config_list {{ {described} }}")
        file.flush()
        settings = {"models_config": file.name, **settings}
        assert models.grpc_address is not None
        with TFServingClient(models.grpc_address) as upstream:
            config = GatewayConfig(upstream=models.grpc_address, models=CLASSIFIERS, **settings)
            with application(create_app(config, upstream)) as url:
                yield url


@pytest.fixture(scope="module")
def url(trained_models: Any) -> Iterator[str]:
    """The URL of a gateway with the default models."""
    with gateway(trained_models.workdir / "models") as url:
        yield url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The loaded page."""
    with checked_page(browser, url) as page:
        page.goto(url)
        page.get_by_role("heading", name="cnn").wait_for()
        yield page


@contextmanager
def checked_page(browser: Browser, origin: str, **options: Any) -> Iterator[Page]:
    """An empty page; an error in it, or a request to another origin, fails the test."""
    context = browser.new_context(**options)
    page = context.new_page()
    errors: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    yield page
    context.close()
    assert not errors
    assert [each for each in requests if not each.startswith((origin, "data:", "blob:"))] == []
