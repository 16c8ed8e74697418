"""Faults around a gateway: it lacks file descriptors, or the disk is full."""

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import requests

from tests.integration.gateway.conftest import total
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    not shutil.which("prlimit") or not Path("/proc/self/task").exists(),
    reason="sets limits of processes (Linux)",
)


def test_connections_beyond_the_file_descriptors_wait(start_gateway):
    gateway = start_gateway("--workers=1", within=("prlimit", "--nofile=64:64"))
    workers = gateway.workers()
    sockets = [socket.create_connection(("127.0.0.1", gateway.port), 30) for _ in range(100)]
    for each in sockets:
        each.sendall(b"GET /livez HTTP/1.1\r\nHost: here\r\nConnection: close\r\n")
    for each in sockets:
        with each:
            each.sendall(b"\r\n")
            assert each.recv(12) == b"HTTP/1.1 200"
    assert gateway.predict().status_code == 200
    assert gateway.workers() == workers
    assert "Too many open files" not in gateway.log.read_text()


def test_workers_that_cannot_write_metrics_serve(start_gateway, tmp_path):
    # Too small for the files of the metrics.
    limit = ("prlimit", f"--fsize={16 * 1024}")
    gateway = start_gateway("--workers=1", f"--metrics-dir={tmp_path}", within=limit)
    assert [gateway.predict().status_code for _ in range(3)] == [200] * 3
    assert requests.get(f"{gateway.url}/metrics", timeout=20).status_code == 200
    assert gateway.log.read_text().count("is missing from /metrics: ") == 1


def can_mount() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(
    not shutil.which("unshare") or not can_mount(), reason="may not mount a file system"
)
def test_a_disk_that_becomes_full(start_gateway, tmp_path):
    mount = f'mount -t tmpfs -o size=8m none {tmp_path / "disk"} && exec "$@"'
    (tmp_path / "disk").mkdir()
    names = [f"model-{number}" for number in range(40)]
    gateway = start_gateway(
        *("--workers=1", f"--metrics-dir={tmp_path / 'disk'}"),
        *(f"--model={name}" for name in names),
        within=("unshare", "-rm", "sh", "-c", mount, "sh"),
    )
    workers = gateway.workers()
    rest = Path(f"/proc/{gateway.process.pid}/root{tmp_path}/disk/rest")
    with rest.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    # Each model has time series of its own.
    assert [gateway.predict(path=f"/predict/{name}").status_code for name in names] == [200] * 40
    assert gateway.workers() == workers
    assert gateway.log.read_text().count("not counted or recorded: ") == 1

    rest.unlink()
    sample = {"name": "rockstar_requests_total", "route": "/predict/<model>"}
    before = total(gateway, **sample)
    for name in names:
        gateway.predict(path=f"/predict/{name}")
    until(lambda: total(gateway, **sample) == before + 40)
