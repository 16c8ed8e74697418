"""The arrows of the architecture, and that TensorFlow stays offline."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import clients
from tests.model_fixtures import write_version

ROOT = Path(__file__).parents[3]

# Which of our rooms a room may import.
ALLOWED = {
    "training": {
        "training",
        "serving.contract",
        "serving.csv_rows",
        "serving.errors",
        "serving.images",
        "serving.inputs",
        "serving.limits",
        "serving.manifest",
        "serving.preprocessing",
        "serving.table_cells",
        "serving.tables",
        "serving.tensor_inputs",
        "serving.text_files",
        "serving.version_folders",
    },
    "clients": {
        "clients",
        "serving.api",
        "serving.contract",
        "serving.csv_rows",
        "serving.errors",
        "serving.inputs",
        "serving.labels",
        "serving.limits",
        "serving.tables",
        "serving.tensor_inputs",
    },
    "serving/gateway": {"serving", "clients"},
    "serving/model_server": {
        "serving.api",
        "serving.contract",
        "serving.errors",
        "serving.logs",
        "serving.manifest",
        "serving.model_server",
        "serving.text_files",
    },
    "serving/api": {"serving.api", "serving.errors", "serving.shapes"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return {name for name in found if name.split(".")[0] in ("training", "serving", "clients")}


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows(room):
    for path in (ROOT / room).rglob("*.py"):
        for name in imports(path):
            allowed = any(f"{name}.".startswith(f"{prefix}.") for prefix in ALLOWED[room])
            assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_nothing_that_serves_or_asks_imports_training():
    for path in [*(ROOT / "serving").rglob("*.py"), *(ROOT / "clients").rglob("*.py")]:
        assert not {name for name in imports(path) if name.startswith("training")}, path


@pytest.mark.parametrize(
    "modules",
    [
        "serving.gateway.app, serving.gateway.server, serving.gateway.__main__, serving.gateway.kserve",
        "serving.model_server.server, serving.model_server.command, serving.model_server.__main__",
        "serving.model_server.grpc_api.health, serving.model_server.grpc_api.reflection",
        "serving.model_server.tls, serving.logs",
        "clients, clients.http, clients.grpc, clients.async_http, clients.async_grpc",
        "clients.bulk.job, clients.bulk.services, clients.bulk.output, clients.bulk.sources",
        "serving.serve, commandline.serve, commandline.predict, commandline.train, rockstar",
        "commandline.registry, commandline.explain, commandline.completion, commandline.import_",
        "commandline.bench, commandline.load, commandline.check, commandline.checks, commandline.prediction_run",
        "training.config, training.datasets, training.config, training.prepare, training.indexed_job",
    ],
)
def test_tensorflow_stays_out(modules):
    heavy = "{'tensorflow', 'keras'} & set(sys.modules)"
    code = f"import {modules}, sys; print({heavy} or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("light\n", "")


def test_clients_load_only_what_they_speak():
    code = (
        "import clients, sys; assert not {'numpy', 'grpc', 'urllib3'} & set(sys.modules); "
        "clients.HttpClient; assert not {'grpc', 'asyncio', 'aiohttp', 'flask'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_all_that_clients_offer_is_there():
    assert sorted(clients.__all__) == sorted(clients._MODULES)
    assert {getattr(clients, name).__name__ for name in clients.__all__} == set(clients.__all__)


def test_a_server_without_metrics_does_not_load_their_library():
    code = "import serving.model_server.command, sys; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("False\n", "")


def models_config(folder):
    """A models.config with one model, toy."""
    write_version(folder / "toy", 1)
    config = folder / "models.config"
    model = f'name: "toy" base_path: "{folder / "toy"}" model_platform: "tensorflow"'
    config.write_text(f"model_config_list {{ config {{ {model} }} }}")
    return config


def test_the_parent_of_the_workers_loads_only_what_settings_need(tmp_path):
    code = (
        "import sys, serving.gateway.server, serving.gateway.shared_worker\n"
        "from serving.gateway.setting_checks import config_of\n"
        "from serving.gateway.settings import read_settings\n"
        "config_of(read_settings({'models': ('toy',), 'models_config': sys.argv[1]}))\n"
        "print({'numpy', 'flask', 'grpc', 'PIL'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, models_config(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_worker_that_runs_its_models_itself_does_not_load_grpc(tmp_path):
    code = (
        "import sys\n"
        "from serving.gateway.app import create_app\n"
        "from serving.gateway.config import GatewayConfig\n"
        "app = create_app(GatewayConfig(models=('toy',), models_config=sys.argv[1]))\n"
        "toy = app.test_client().get('/readyz').json['models']['toy']\n"
        "print(toy, 'grpc' in sys.modules)"
    )
    command = [sys.executable, "-c", code, models_config(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    # It ran: what the toy says is no contract. A model server that is not there is UNAVAILABLE.
    assert done.stdout == "{'ready': True, 'contract': False} False\n"
