"""The gateway's image."""

import json
import mmap
import tomllib

import pytest

from tests.containers.conftest import ROOT
from tests.waiting import until

pytestmark = pytest.mark.images
MB = 1_000_000


@pytest.fixture(scope="module")
def config(engine, gateway_image):
    return engine.image(gateway_image)["Config"]


def test_adds_less_than_150_mb_to_its_base(
    engine, gateway_image, model_server_image, record_property
):
    size, base = engine.image(gateway_image)["Size"], engine.image(engine.base)["Size"]
    model_server = engine.image(model_server_image)["Size"]
    record_property(
        "measured",
        f"images in MB: base {base / MB:.0f}, gateway {size / MB:.0f} (+{(size - base) / MB:.0f}), "
        f"model-server {model_server / MB:.0f} (+{(model_server - base) / MB:.0f})",
    )
    assert size - base < 150 * MB


def test_labels(config):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in config["Labels"].items()
    }
    assert labels["title"] == "RockstarTF gateway"
    assert labels["version"] == project["version"]
    assert labels["licenses"] == project["license"]
    assert labels["revision"] == "abc123"


def test_starts_without_root_and_without_a_shell(engine, gateway_image, config):
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "-m", "rockstar_serving.gateway"]
    assert engine.image(gateway_image)["Healthcheck"]["Test"][0] == "CMD"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]


@pytest.mark.parametrize("package", ["tensorflow", "ai_edge_litert", "pip"])
def test_holds_nothing_that_it_does_not_need(engine, gateway_image, package):
    found = engine.podman(
        *("run", "--rm", "--network=none", "--entrypoint=python", gateway_image),
        *("-c", f"import importlib.util; print(importlib.util.find_spec('{package}'))"),
    )
    assert found.strip() == "None"


def test_an_unknown_setting(engine, gateway_image):
    container = engine.start(gateway_image, options=("--env=ROCKSTAR_MAX_PIXEL=5",))
    assert container.wait() == 2
    said = container.logs()
    assert "ROCKSTAR_MAX_PIXEL: there is no such setting; did you mean ROCKSTAR_MAX_PIXELS?" in said
    assert "Traceback" not in said


def test_refuses_a_folder_that_cannot_be_written(engine, gateway_image):
    settings = ("--env=ROCKSTAR_MODELS=cnn", "--env=ROCKSTAR_METRICS_DIR=/app")
    container = engine.start(gateway_image, options=settings)
    assert container.wait() == 2
    assert "ROCKSTAR_METRICS_DIR: expected a folder to write to" in container.logs()


def test_the_healthcheck_fails_without_a_server(engine, gateway_image):
    settings = ("--env=ROCKSTAR_MODELS=cnn", "--env=ROCKSTAR_BIND=127.0.0.1:8081")
    assert not engine.start(gateway_image, options=settings).healthy()


def test_lines_of_its_log_are_json(engine, gateway_image):
    container = engine.start(gateway_image, options=("--env=ROCKSTAR_MODELS=cnn",))
    until(container.healthy, what="a healthy gateway")
    assert container.stop() == 0
    lines = [json.loads(line) for line in container.logs().splitlines()]
    assert any("there are no API keys" in line["message"] for line in lines)


def test_no_layer_holds_the_secret_of_the_build(engine, gateway_image, tmp_path):
    secret = (engine.folder / "pip.conf").read_text().splitlines()[-1]
    assert "secret" in secret
    archive = tmp_path / "image.tar"
    engine.podman("save", f"--output={archive}", gateway_image)
    with archive.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        assert content.find(b"rockstar_serving/gateway") >= 0
        assert content.find(secret.encode()) == -1
