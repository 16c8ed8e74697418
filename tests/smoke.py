"""Smoke test of an installation: imports everything, shows the help of every command, predicts.

A program for a separate environment, without pytest and without TensorFlow; see versions.py.
"""

import importlib
import json
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import requests
from click.testing import CliRunner

from rockstar_cli.__main__ import COMMANDS, cli
from rockstar_client import GrpcClient, HttpClient
from tests.images import png, stroke

ROOT = Path(__file__).parents[1]


def import_everything() -> int:
    """Import all modules except programs; a warning is an error.

    Returns:
        Number of modules.
    """
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in (
            "rockstar_client",
            "rockstar_cli",
            "rockstar_contract",
            "rockstar_serving",
            "tfs_api",
        ):
            package = importlib.import_module(name)
            for module in pkgutil.walk_packages(package.__path__, f"{name}."):
                if not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
                    count += 1
    assert "tensorflow" not in sys.modules
    return count


def show_help() -> None:
    """Show the help of `rockstar` and of each subcommand."""
    for arguments in ([], *([name] for name in COMMANDS)):
        result = CliRunner().invoke(cli, [*arguments, "--help"])
        assert result.exit_code == 0, f"rockstar {arguments}: {result.output} {result.exception}"
        assert "Usage" in result.output


@contextmanager
def started(*arguments: str, address_file: Path) -> Iterator[Any]:
    """The output of a serving command when it is ready, from its address file or standard output."""
    command = [sys.executable, "-m", "rockstar_cli", *arguments]
    output = address_file.with_suffix(".out")
    with output.open("w") as file, subprocess.Popen(command, cwd=ROOT, stdout=file) as server:
        try:
            deadline = time.monotonic() + 60
            while not (output.read_text() or address_file.exists()):
                assert server.poll() is None, f"{command} ended with {server.returncode}"
                assert time.monotonic() < deadline, f"{command} does not answer"
                time.sleep(0.05)
            yield json.loads(output.read_text() or address_file.read_text())
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0, f"{command} ended with {server.returncode}"
        finally:
            server.kill()


def serve(models: Path, folder: Path) -> None:
    """Predict through `rockstar serve` over HTTP, gRPC and TensorFlow Serving's REST API."""
    image = png(stroke())
    ports = ("--port=0", "--grpc-port=0", "--rest-port=0", "--workers=1", "--log-format=json")
    arguments = ("serve", f"--models={models}", "--json", *ports)
    with started(*arguments, address_file=folder / "serve.json") as addresses:
        with HttpClient(addresses["http"]) as http:
            assert http.predict("toy", image).predictions[0].label == "two"
        with GrpcClient(addresses["grpc"], models=["toy"]) as grpc:
            assert grpc.predict("toy", image).predictions[0].label == "two"
        predict_rest(addresses["rest"])
        page = requests.get(addresses["http"], headers={"Accept": "text/html"}, timeout=30)
        assert page.status_code == 200, page.text
        assert requests.get(f"{addresses['http']}/metrics", timeout=30).status_code == 200


def serve_alone(models: Path, folder: Path) -> None:
    """Predict through `rockstar model-server`."""
    flags = ("--port=auto", "--rest_api_port=auto", "--host=127.0.0.1")
    base = ("--model_name=toy", f"--model_base_path={models / 'toy'}")
    addresses_at = folder / "model-server.json"
    arguments = ("model-server", *flags, *base, f"--address_file={addresses_at}")
    with started(*arguments, address_file=addresses_at) as addresses:
        predict_rest(addresses["rest"])


def predict_rest(address: str) -> None:
    """Predict two blank images over TensorFlow Serving's REST API."""
    body = {"instances": np.zeros((2, 8, 8, 1)).tolist()}
    answer = requests.post(f"http://{address}/v1/models/toy:predict", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    assert np.argmax(answer.json()["predictions"], axis=1).tolist() == [2, 2]


def main() -> None:
    models = Path(sys.argv[1])
    count = import_everything()
    show_help()
    with tempfile.TemporaryDirectory() as folder:
        serve(models, Path(folder))
        serve_alone(models, Path(folder))
    print(f"{count} modules imported, {len(COMMANDS)} commands shown, served and predicted")


if __name__ == "__main__":
    main()
