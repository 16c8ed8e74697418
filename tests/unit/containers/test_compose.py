"""compose.yaml: its schema, and agreement with the images and settings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rockstar_serving.gateway.app import create_app
from rockstar_serving.gateway.settings import GatewayConfig, config_of, read_settings
from rockstar_serving.model_server.grpc_server import read_ssl_config
from rockstar_serving.model_server.models.config import read_config_file
from rockstar_serving.model_server.options import GrpcOptions
from tests.integration.model_server.conftest import fake_server

ROOT = Path(__file__).parents[3]
TFSERVING = ROOT / "serving" / "tfserving"
OURS = ("gateway", "tfserving", "tfserving-gpu", "embedded", "trainer")


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def started(services, *profiles: str) -> set[str]:
    return {
        name
        for name, service in services.items()
        if not service.get("profiles") or set(service["profiles"]) & set(profiles)
    }


@pytest.mark.parametrize("name", ["compose.yaml", "compose.tls.yaml"])
def test_matches_the_compose_specification(name):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(ROOT / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_starts_one_model_server_of_the_chosen_kind(services):
    default = dict(re.findall(r"^(\w+)=(\w+)$", (ROOT / ".env").read_text(), flags=re.M))
    assert started(services, default["COMPOSE_PROFILES"]) == {"gateway", "tfserving"}
    assert started(services, "gpu") == {"gateway", "tfserving-gpu"}
    assert started(services, "embedded") == {"gateway", "embedded"}
    monitored = started(services, "cpu", "monitoring")
    assert monitored == {"gateway", "tfserving", "prometheus", "grafana"}


def test_the_gateway_waits_for_each_and_finds_it_by_one_name(services):
    gateway = services["gateway"]
    servers = started(services, "cpu", "gpu", "embedded") - {"gateway"}
    assert gateway["depends_on"].keys() == servers
    for name, how in gateway["depends_on"].items():
        assert how == {"condition": "service_healthy", "required": False}
        assert services[name]["networks"]["default"]["aliases"] == ["model-server"]
    assert gateway["environment"]["ROCKSTAR_UPSTREAM"] == "model-server:8500"


def test_the_gateways_settings_are_settings(services, monkeypatch):
    for name, value in services["gateway"]["environment"].items():
        monkeypatch.setenv(name, value)
    config = config_of(read_settings({}))
    named = {model.name for model in read_config_file(TFSERVING / "models.config")}
    assert set(config.models) == named
    assert config.grace + config.drain < seconds(services["gateway"]["stop_grace_period"])


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("name", [*OURS, "prometheus", "grafana"])
def test_services_are_locked(services, name):
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"]
    assert service["mem_limit"]
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "only this machine: nobody is asked for a key"


@pytest.mark.parametrize("name", OURS)
def test_builds_existing_targets(services, name):
    build = services[name]["build"]
    assert re.search(
        rf" AS {build['target']}$", (ROOT / build["dockerfile"]).read_text(), flags=re.M
    )
    tag = services[name]["image"]
    assert tag.endswith("-gpu") == (build["dockerfile"] == "Dockerfile.gpu")


def test_files_that_are_mounted_exist(services):
    mounted = [
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert len(mounted) == 5
    for path in mounted:
        assert (ROOT / path).is_file()


def test_batches_hold_the_largest_request():
    text = (TFSERVING / "batching.config").read_text()
    found = re.search(r"max_batch_size { value: (\d+) }", text)
    assert found is not None
    assert int(found[1]) >= GatewayConfig().max_instances


def test_certificates_made_as_documented_serve_both_sides(services, tmp_path):
    """With the settings of compose.tls.yaml, and this machine in place of the containers."""
    changes = yaml.safe_load((ROOT / "compose.tls.yaml").read_text())["services"]
    assert changes.keys() == started(services, "cpu", "gpu", "embedded")
    page = (ROOT / "docs" / "containers.md").read_text()
    (script,) = re.findall(r"```sh\n(.*?)```", page, flags=re.S)
    # The server's name in the gateway's settings.
    script = script.replace("DNS:$name", "DNS:localhost")
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True, capture_output=True)

    def local(name: str, path: str) -> str:
        (volume,) = changes[name]["volumes"]
        folder, mounted, mode = volume.split(":")
        assert mode == "ro"
        return path.replace(mounted, str(tmp_path / folder))

    (flag,) = changes["embedded"]["command"]
    tls = read_ssl_config(Path(local("embedded", flag.removeprefix("--ssl_config_file="))))
    with fake_server(tmp_path, grpc=GrpcOptions(tls=tls)) as server:
        files = {
            variable.removeprefix("ROCKSTAR_").lower(): local("gateway", path)
            for variable, path in changes["gateway"]["environment"].items()
        }
        upstream = f"localhost:{server.grpc_port}"
        for settings, status in ((files, 200), ({"upstream_ca": files["upstream_ca"]}, 503)):
            config = GatewayConfig(upstream, models=("m",), **settings)
            response = create_app(config).test_client().get("/v1/models/m")
            assert response.status_code == status
