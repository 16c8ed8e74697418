"""`pip install` without extras: the clients and the gateway, small, and no TensorFlow."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.environments import environment, install
from tests.images import png, stroke

ROOT = Path(__file__).parents[3]
# Without 25 MB of bytecode: pip compiles immediately, uv leaves it to the first import.
MOST_MEGABYTES = 130

SIZE = """
import importlib.metadata, json
sizes = {}
for each in importlib.metadata.distributions():
    files = (each.locate_file(file) for file in each.files or () if file.suffix != ".pyc")
    sizes[each.name] = sum(file.stat().st_size for file in files if file.exists()) / 1e6
print(json.dumps(sizes))
"""

IMPORTED = """
import sys, time
started = time.perf_counter()
from rockstar_client import {client}
print(time.perf_counter() - started)
assert not {{"tensorflow", "keras", "ai_edge_litert"}} & set(sys.modules)
"""

ASK = """
import asyncio, sys
from pathlib import Path
from rockstar_client import AsyncGrpcClient, AsyncHttpClient, GrpcClient, HttpClient

http, grpc, image = sys.argv[1:]

def show(answer):
    (one,) = answer.predictions
    print(one.label, answer.version, one.probabilities.tolist())

async def ask(client):
    async with client:
        show(await client.predict("toy", image))
        assert await client.ready()
        assert (await client.metadata("toy")).contract.labels[0] == "zero"
        assert [model.model for model in await client.models()] == ["toy"]

for client in (HttpClient(http), GrpcClient(grpc, models=["toy"])):
    with client:
        show(client.predict("toy", image))
        assert client.ready()
        assert client.metadata("toy").contract.labels[0] == "zero"
        assert [model.model for model in client.models()] == ["toy"]
asyncio.run(ask(AsyncHttpClient(http)))
asyncio.run(ask(AsyncGrpcClient(grpc, models=["toy"])))
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def interpreter(pytestconfig, worker_id) -> Path:
    """The Python of an environment with this release, without extras; one per test process."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = environment(pytestconfig, f"clients-{worker_id}", project["dependencies"])
    done = install(found, "--no-deps", "--reinstall", str(ROOT))
    if done.returncode:
        pytest.skip(f"the project cannot be built: {done.stderr.strip().splitlines()[-1]}")
    return found


def run(interpreter: Path, code: str, *arguments: str, folder: Path) -> str:
    command = [str(interpreter), "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_small(interpreter, tmp_path, record_property):
    sizes = json.loads(run(interpreter, SIZE, folder=tmp_path))
    assert not {"tensorflow", "keras", "ai-edge-litert"} & set(sizes)
    total = sum(sizes.values())
    record_property("measured", f"installed: {total:.0f} MB")
    assert total < MOST_MEGABYTES


@pytest.mark.parametrize(
    "client", ["HttpClient", "GrpcClient", "AsyncHttpClient", "AsyncGrpcClient"]
)
def test_clients_are_imported_without_tensorflow(interpreter, tmp_path, record_property, client):
    code = IMPORTED.format(client=client)
    seconds = float(run(interpreter, code, folder=tmp_path))
    record_property("measured", f"from rockstar_client import {client}: {seconds:.2f} s")


def test_all_clients_ask(interpreter, start_gateway, toy_server, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(png(stroke()))
    gateway = start_gateway(interpreter=interpreter)
    grpc = f"127.0.0.1:{toy_server.port}"
    said = run(interpreter, ASK, gateway.url, grpc, str(image), folder=tmp_path)
    assert said.splitlines() == ["zero 2 [1.0, 0.0, 0.0, 0.0]"] * 4


@pytest.mark.parametrize(
    "command",
    [["-m", "rockstar_serving.model_server", "--port=0"], ["-m", "rockstar_cli", "serve"]],
)
def test_the_embedded_server_names_the_missing_package(interpreter, tmp_path, command):
    done = subprocess.run(
        [interpreter, *command], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "needs ai_edge_litert" in done.stderr
    assert "pip install 'rockstartf[serve]'" in done.stderr
