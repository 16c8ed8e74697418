"""Signals: draining, stopping and reloading lose no request."""

import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.integration.gateway.conftest import IMAGE, total
from tests.load import Load
from tests.ports import free_ports
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="looks at processes through /proc (Linux)"
)


def test_requests_in_flight_finish_before_the_end(start_gateway, toy_server):
    gateway = start_gateway("--workers=2", "--threads=2", "--queue=20", "--grace=20")
    toy_server.proceed.clear()
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(gateway.predict) for _ in range(16)]
        until(lambda: total(gateway, "rockstar_requests_in_flight") == 16)
        gateway.process.send_signal(signal.SIGTERM)
        toy_server.proceed.set()
        assert [answer.result().status_code for answer in answers] == [200] * 16
    assert gateway.process.wait(20) == 0
    assert gateway.log.read_text().count("POST /predict/toy 200") == 16
    assert "Traceback" not in gateway.log.read_text()


def test_while_it_drains_it_is_not_ready_and_keeps_serving(start_gateway):
    gateway = start_gateway("--drain=60")
    with requests.Session() as session:
        assert gateway.predict(session=session).headers.get("Connection") != "close"
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: not gateway.ready())
        response = requests.get(f"{gateway.url}/readyz", timeout=20)
        assert (response.status_code, response.json()["status"]) == (503, "stopping")
        assert requests.get(f"{gateway.url}/livez", timeout=20).status_code == 200
        answer = gateway.predict(session=session)
        assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(20) == 0


def test_a_silent_client_does_not_hold_it_up(start_gateway):
    gateway = start_gateway("--grace=1")
    with socket.create_connection(("127.0.0.1", gateway.port)):
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0
    assert "SIGKILL" not in gateway.log.read_text()


@pytest.mark.slow
def test_a_rolling_restart_loses_no_request(start_gateway):
    """As on Kubernetes, a gateway that is not ready gets no more requests, then stops."""
    options = ("--workers=1", "--drain=30")
    gateways = [start_gateway(*options), start_gateway(*options)]
    with Load([gateway.url for gateway in gateways], "toy", [IMAGE]) as load:
        load.more()
        for index, old in enumerate(gateways):
            old.process.send_signal(signal.SIGTERM)
            until(lambda old=old: not old.ready())
            load.more()
            load.urls[index] = start_gateway(*options).url
            load.more()
            old.process.send_signal(signal.SIGTERM)
            assert old.process.wait(20) == 0
        load.more()
    assert load.failures == []


def test_files_are_read_again_on_sighup_and_no_request_is_lost(start_gateway, tmp_path):
    routes = tmp_path / "routes.toml"
    routes.write_text("[models.toy]\nsplit = [{ version = 1, weight = 1 }]\n")
    gateway = start_gateway("--workers=1", f"--routes={routes}")
    with Load([gateway.url], "toy", [IMAGE]) as load:
        load.more()
        assert load.versions.keys() == {1}
        routes.write_text("[models.toy]\nsplit = [{ version = 2, weight = 1 }]\n")
        gateway.process.send_signal(signal.SIGHUP)
        load.until_version(2)
        # An invalid file changes nothing.
        routes.write_text("[models")
        before = gateway.workers()
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: not set(before) & set(gateway.workers()))
        load.versions.clear()
        load.more()
    assert load.failures == []
    assert load.versions.keys() == {2}
    assert "kept the earlier routes and API keys" in gateway.log.read_text()


def test_workers_end_with_their_parent(start_gateway):
    (port,) = free_ports(1)
    gateway = start_gateway("--workers=2", f"--bind=127.0.0.1:{port}", port=port)
    workers = gateway.workers()
    assert len(workers) == 2
    gateway.process.kill()
    until(lambda: not any(is_running(pid) for pid in workers))


def is_running(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # empty when it is a zombie
    except (FileNotFoundError, ProcessLookupError):
        return False
