"""The images, each alone and in pairs: a gateway and a model server without privileges.

In one file, so that one process builds them.
"""

import json
import mmap
import shutil
import tomllib
import urllib.request

import pytest

from rockstar_serving.transfer import push
from tests.containers.conftest import ROOT
from tests.oci_registry import oci_registry
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


def test_an_unknown_setting_or_flag(engine, gateway_image, model_server_image):
    setting = ("--env=ROCKSTAR_MAX_PIXEL=5",)
    for container, message in (
        (
            engine.start(gateway_image, options=setting),
            "ROCKSTAR_MAX_PIXEL: there is no such setting; did you mean ROCKSTAR_MAX_PIXELS?",
        ),
        (
            engine.start(model_server_image, "--enable_batchin"),
            "unknown flag --enable_batchin: did you mean --enable_batching?",
        ),
    ):
        assert container.wait() == 2
        said = container.logs()
        assert message in said
        assert "Traceback" not in said


def test_refuses_a_folder_that_cannot_be_written(engine, gateway_image):
    settings = ("--env=ROCKSTAR_MODELS=cnn", "--env=ROCKSTAR_METRICS_DIR=/app")
    container = engine.start(gateway_image, options=settings)
    assert container.wait() == 2
    assert "ROCKSTAR_METRICS_DIR: expected a folder to write to" in container.logs()


def test_healthchecks_fail_without_a_server(engine, gateway_image, model_server_image):
    settings = ("--env=ROCKSTAR_MODELS=cnn", "--env=ROCKSTAR_BIND=127.0.0.1:8081")
    assert not engine.start(gateway_image, options=settings).healthy()
    assert not engine.start(model_server_image, "--port=8600").healthy()


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


def test_pulls_models_as_an_init_container(engine, model_server_image):
    arguments = ("pull", "--models=/tmp/models", "/models/cnn/1")
    container = engine.start(model_server_image, *arguments, options=("--entrypoint=rockstar",))
    assert container.wait() == 0, container.logs()
    assert container.logs().startswith("cnn version 1 is now at /tmp/models/cnn/1 (")


def test_serves_a_model_of_an_image_volume(engine, model_server_image, trained_models, tmp_path):
    """As Kubernetes mounts what `rockstar push` makes."""
    with oci_registry(tmp_path) as address:
        image = f"{address}/models/cnn"
        push(trained_models.workdir / "models", "cnn", 1, f"oci://{image}")
        engine.podman("pull", "--quiet", "--tls-verify=false", f"{image}:1")
    try:
        container = engine.start(
            model_server_image,
            *("--rest_api_port=8501", "--model_name=cnn", "--model_base_path=/mnt/cnn/models"),
            options=(
                '--entrypoint=["python", "-m", "rockstar_serving.model_server"]',
                f"--mount=type=image,source={image}:1,destination=/mnt/cnn",
            ),
        )
        probe = ("python", "-m", "rockstar_serving.probe")
        url = "http://127.0.0.1:8501/v1/models/cnn/metadata"
        until(lambda: container.run(*probe, url).returncode == 0, 60, "a loaded model")
        assert "Read-only file system" in container.run("touch", "/mnt/cnn/models/2").stderr
        # Before its image.
        engine.podman("rm", "--force", "--time=0", container.id)
        engine._started.remove(container.id)
    finally:
        engine.podman("rmi", f"{image}:1")


@pytest.mark.parametrize(
    ("models", "complaint"),
    [
        ([], "holds no model"),
        (["cnn"], "cannot access '/models/logistic'"),
    ],
)
@pytest.mark.slow
def test_is_not_built_without_its_models(engine, trained_models, tmp_path, models, complaint):
    for model in models:
        shutil.copytree(trained_models.workdir / "models" / model, tmp_path / model)
    with pytest.raises(AssertionError, match=complaint):
        engine.build(ROOT / "Dockerfile.cpu", "model-server", f"--build-context=models={tmp_path}")


@pytest.mark.slow
def test_is_not_built_with_a_model_that_was_changed(engine, trained_models, tmp_path):
    shutil.copytree(trained_models.workdir / "models", tmp_path, dirs_exist_ok=True)
    (tmp_path / "cnn" / "1" / "model.tflite").write_bytes(b"something else")
    with pytest.raises(AssertionError, match="1 of 3 versions do not match their manifests"):
        engine.build(ROOT / "Dockerfile.cpu", "model-server", f"--build-context=models={tmp_path}")


@pytest.fixture(scope="module")
def pair(start_pair):
    return start_pair()


def test_predicts_a_png_and_stops_in_time(start_pair, ask, held_out):
    pair = start_pair()
    answers = [ask(pair, "cnn", png) for png in held_out.images[:5]]
    assert answers == held_out.predicted[:5]
    assert pair.gateway.healthy()
    assert pair.model_server.healthy()
    assert (pair.gateway.stop(), pair.model_server.stop()) == (0, 0)


def test_runs_as_any_user_and_without_a_shell(start_pair, ask, held_out):
    shells = [f"--volume=/dev/null:/usr/bin/{shell}:ro" for shell in ("dash", "bash")]
    pair = start_pair("--user=1000650000:0", *shells)
    assert ask(pair, "mlp", held_out.images[0]) is not None
    assert pair.gateway.run("sh", "-c", "true").returncode != 0
    assert pair.gateway.run("id", "-u").stdout.strip() == "1000650000"


def test_has_no_rights(pair):
    for container in (pair.gateway, pair.model_server):
        status = container.run("cat", "/proc/1/status").stdout
        values = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
        assert int(values["CapBnd"], 16) == int(values["CapEff"], 16) == 0
        assert values["NoNewPrivs"] == "1"
        assert set(values["Uid"].split()) == {"10001"}
        assert container.run("touch", "/app/new").returncode != 0


def test_both_have_metrics(pair, ask, held_out):
    ask(pair, "cnn", held_out.images[0])
    of_models = f"http://{pair.model_server.address}:8501/monitoring/prometheus/metrics"
    assert "rockstar_requests_total{" in read(f"{pair.url}/metrics")
    assert ":tensorflow:serving:request_count{" in read(of_models)


def read(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()
