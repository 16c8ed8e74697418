"""From one machine's model folder to servers elsewhere: versions, labels, and the way back."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.command_line import ROOT, invoke
from tests.environments import environment
from tests.object_store import KEYS, REQUIREMENTS, object_store
from tests.waiting import until

BUCKET = "s3://the-models/served"


@pytest.fixture
def models(trained_models, tmp_path: Path) -> Path:
    """A folder with versions 1 and 2 of a model `toy`."""
    for version in ("1", "2"):
        trained = trained_models.workdir / "models" / "logistic" / "1"
        shutil.copytree(trained, tmp_path / "models" / "toy" / version)
    return tmp_path / "models"


@pytest.fixture
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with object_store(environment(request.config, "object-storage", REQUIREMENTS)) as endpoint:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        call = urllib.request.Request(f"{endpoint}/the-models", method="PUT")
        with urllib.request.urlopen(call, timeout=30):
            yield BUCKET


@contextlib.contextmanager
def server(config: object, folder: Path) -> Iterator[str]:
    """The URL of a model server that reads its models from a config file."""
    address = folder / "address.json"
    flags = [
        "--model_config_file=/the/one/of/the/image",
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=0.1",
        "--file_system_poll_wait_seconds=0.1",
        "--allow_version_labels_for_unavailable_models",
        f"--model_cache_path={folder / 'cache'}",
        f"--address_file={address}",
        "--port=auto",
        "--rest_api_port=auto",
    ]
    command = [sys.executable, "-m", "rockstar_serving.model_server", *flags]
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, stderr=log) as process,
    ):
        try:
            until(lambda: address.exists() or process.poll() is not None, 60, "a model server")
            assert process.poll() is None, (folder / "server.log").read_text()
            yield f"http://{json.loads(address.read_text())['rest']}/v1/models/toy"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def version_of(url: str, label: str) -> str | None:
    """The version that has a label."""
    response = requests.get(f"{url}/labels/{label}/metadata", timeout=20)
    return response.json()["model_spec"]["version"] if response.status_code == 200 else None


@pytest.mark.parametrize("kind", ["bucket", "folder"])
@pytest.mark.slow
def test_a_label_reaches_servers_elsewhere(kind, models, tmp_path, request):
    there = request.getfixturevalue("bucket") if kind == "bucket" else str(tmp_path / "volume")

    def push(version: int, *options: str) -> None:
        done = invoke("push", f"toy/{version}", there, "--models", models, *options)
        assert done.exit_code == 0, done.output

    push(1, "--label=stable")
    with server(f"{there}/models.config", tmp_path) as url:
        assert version_of(url, "stable") == "1"
        push(2, "--label=canary")
        until(lambda: version_of(url, "canary") == "2")
        assert version_of(url, "stable") == "1"
        push(2, "--label=stable")
        until(lambda: version_of(url, "stable") == "2")
        # Roll back.
        push(1, "--label=stable")
        until(lambda: version_of(url, "stable") == "1")
