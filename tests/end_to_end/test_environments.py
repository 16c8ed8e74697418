"""`rockstar serve` under supervisors and in company networks."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
import requests

from tests.end_to_end.conftest import ROOT, rockstar
from tests.model_fixtures import write_version
from tests.ports import free_ports
from tests.waiting import until

DIRECT = requests.Session()
DIRECT.trust_env = False


@pytest.fixture
def current(tmp_path):
    """A link to a folder of models, which one rename swaps when a new one is published."""
    write_version(tmp_path / "revision-1" / "toy", 1)
    write_version(tmp_path / "revision-2" / "toy", 2)
    (tmp_path / "current").symlink_to("revision-1")
    return tmp_path / "current"


def versions(url: str) -> list[str]:
    try:
        answer = DIRECT.get(f"{url}/v1/models/toy", timeout=20)
    except requests.ConnectionError:
        return []
    states = answer.json().get("model_version_status", [])
    return [each["version"] for each in states if each["state"] == "AVAILABLE"]


def test_without_standard_streams_behind_a_proxy_and_with_a_swapped_link(current):
    http, grpc, rest = free_ports(3)
    command = [sys.executable, "-m", "rockstar_cli", "serve", f"--models={current}", "--workers=1"]
    command += [f"--port={http}", f"--grpc-port={grpc}", f"--rest-port={rest}"]
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(names, address), "no_proxy": "", "NO_PROXY": ""},
        )
        try:
            gateway, server = (f"http://127.0.0.1:{port}" for port in (http, rest))
            until(lambda: versions(gateway) == ["1"], seconds=60, what="version 1")
            # The gateway requests it from the model server.
            assert DIRECT.get(f"{gateway}/v1/models/toy/metadata", timeout=20).ok
            current.with_name("next").symlink_to("revision-2")
            current.with_name("next").replace(current)
            shutil.rmtree(current.with_name("revision-1"))
            for url in (gateway, server):
                until(lambda url=url: versions(url) == ["2"], seconds=30, what="version 2")
        finally:
            process.terminate()
            assert process.wait(30) == 0
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_promote_writes_the_path_of_a_link(current):
    done = rockstar("promote", "--models", str(current), "toy", "1")
    assert done.returncode == 0, done.stderr
    assert f'"{current}/toy"' in (current / "models.config").read_text()
