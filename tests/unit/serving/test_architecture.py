"""Imports go one way, and TensorFlow stays offline."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rockstar_client as clients
from tests.model_fixtures import write_version

ROOT = Path(__file__).parents[3]

# Our packages that each folder may import.
ALLOWED = {
    "training": {
        "rockstar_training",
        "rockstar_contract",
    },
    "clients": {
        "rockstar_client",
        "rockstar_contract",
        "tfs_api",
    },
    "serving/rockstar_serving/gateway": {
        "rockstar_client",
        "rockstar_contract",
        "rockstar_serving",
        "tfs_api",
    },
    "serving/rockstar_serving/model_server": {
        "tfs_api",
        "rockstar_contract",
        "rockstar_serving.installed_version",
        "rockstar_serving.listening",
        "rockstar_serving.logs",
        "rockstar_serving.model_server",
        "rockstar_serving.options",
    },
    "contract": {"rockstar_contract", "tfs_api"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return {name for name in found if name.startswith(("rockstar_", "tfs_api"))}


def printed(code: str, *arguments: object) -> str:
    """What a new interpreter prints, without errors."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for name in imports(path):
            allowed = any(f"{name}.".startswith(f"{prefix}.") for prefix in ALLOWED[folder])
            assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_serving_never_imports_training():
    for path in (ROOT / "serving").rglob("*.py"):
        assert not {name for name in imports(path) if name.startswith("rockstar_training")}, path


LIGHT = {
    "rockstar_serving.gateway": "app server __main__ kserve",
    "rockstar_serving.model_server": "server command __main__ grpc_health_and_reflection grpc_server",
    "rockstar_serving": "logs serve local_model",
    "rockstar_client": "http grpc async_http",
    "rockstar_client.bulk": "job batch_client output sources",
    "rockstar_cli": "serve predict train transfer runs lecture __main__ engines registry explain bench check",
    "rockstar_training": "config datasets prepared_data indexed_job progress",
}


def test_tensorflow_stays_out():
    modules = [f"{package}.{name}" for package, names in LIGHT.items() for name in names.split()]
    code = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    assert not {'tensorflow', 'keras'} & set(sys.modules), name"
    )
    assert printed(code) == ""


def test_clients_load_only_their_protocol():
    printed(
        # tenacity imports it where it is installed, as with Jupyter, and with it asyncio.
        "import sys; sys.modules['tornado'] = None; "
        "import rockstar_client as clients; assert not {'numpy', 'grpc', 'urllib3'} & set(sys.modules); "
        "clients.HttpClient; assert not {'grpc', 'asyncio', 'aiohttp', 'flask'} & set(sys.modules)"
    )


def test_all_that_clients_offer_is_there():
    assert sorted(clients.__all__) == sorted(clients._MODULES)
    assert {getattr(clients, name).__name__ for name in clients.__all__} == set(clients.__all__)


def test_a_server_without_metrics_does_not_load_their_library():
    code = "import rockstar_serving.model_server.command, sys; print('prometheus_client' in sys.modules)"
    assert printed(code) == "False\n"


def models_config(folder):
    """A models.config with one model, toy."""
    write_version(folder / "toy", 1)
    config = folder / "models.config"
    model = f'name: "toy" base_path: "{folder / "toy"}" model_platform: "tensorflow"'
    config.write_text(f"model_config_list {{ config {{ {model} }} }}")
    return config


def test_the_parent_of_the_workers_loads_only_modules_for_settings(tmp_path):
    code = (
        "import sys, rockstar_serving.gateway.server\n"
        "from rockstar_serving.gateway.settings import config_of\n"
        "from rockstar_serving.gateway.settings import read_settings\n"
        "config_of(read_settings({'models': ('toy',), 'models_config': sys.argv[1]}))\n"
        "print({'numpy', 'flask', 'grpc', 'PIL'} & set(sys.modules))"
    )
    assert printed(code, models_config(tmp_path)) == "set()\n"


def test_a_worker_that_runs_its_models_itself_does_not_load_grpc(tmp_path):
    code = (
        "import sys\n"
        "from rockstar_serving.gateway.app import create_app\n"
        "from rockstar_serving.gateway.settings import GatewayConfig\n"
        "app = create_app(GatewayConfig(models=('toy',), models_config=sys.argv[1]))\n"
        "toy = app.test_client().get('/readyz').json['models']['toy']\n"
        "print(toy, 'grpc' in sys.modules)"
    )
    command = [sys.executable, "-c", code, models_config(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    # The model ran: its output is not a contract. A missing model server would be UNAVAILABLE.
    assert done.stdout == "{'ready': True, 'contract': False} False\n"
