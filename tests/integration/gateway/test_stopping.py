"""Signals: nothing that a gateway has taken in is lost."""

import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.images import png, stroke
from tests.integration.gateway.conftest import total
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="looks at processes through /proc (Linux)"
)
IMAGE = png(stroke())


def post(gateway, session=requests) -> requests.Response:
    headers = {"Content-Type": "image/png"}
    url = f"{gateway.url}/predict/toy"
    answer: requests.Response = session.post(url, data=IMAGE, headers=headers, timeout=30)
    return answer


def test_what_is_taken_in_is_answered_before_the_end(start_gateway, toy_server):
    gateway = start_gateway("--workers=2", "--threads=2", "--queue=20", "--grace=20")
    toy_server.proceed.clear()
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(post, gateway) for _ in range(16)]
        until(lambda: total(gateway, "rockstar_requests_in_flight") == 16)
        gateway.process.send_signal(signal.SIGTERM)
        toy_server.proceed.set()
        assert [answer.result().status_code for answer in answers] == [200] * 16
    assert gateway.process.wait(20) == 0
    assert gateway.log.read_text().count("POST /predict/toy 200") == 16
    assert "Traceback" not in gateway.log.read_text()


def test_while_it_drains_it_is_not_ready_and_goes_on_answering(start_gateway):
    gateway = start_gateway("--drain=60")
    with requests.Session() as session:
        assert post(gateway, session).headers["Connection"] == "keep-alive"
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: not gateway.ready())
        response = requests.get(f"{gateway.url}/readyz", timeout=20)
        assert (response.status_code, response.json()["status"]) == (503, "stopping")
        assert requests.get(f"{gateway.url}/livez", timeout=20).status_code == 200
        answer = post(gateway, session)
        assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(20) == 0


def test_a_silent_client_does_not_hold_it_up(start_gateway):
    gateway = start_gateway("--grace=1")
    port = int(gateway.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)):
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0
    assert "SIGKILL" not in gateway.log.read_text()


class Callers:
    """Threads that ask without a pause whichever gateway is ready, and note what fails."""

    def __init__(self, gateways: list, threads: int) -> None:
        self.gateways = gateways
        self.failures: list[str] = []
        self.answers = 0
        self.versions: set[int] = set()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        turn = 0
        with requests.Session() as session:
            while not self._done.is_set():
                turn += 1
                gateway = self.gateways[turn % len(self.gateways)]
                try:
                    response = post(gateway, session)
                except requests.RequestException as error:
                    self.failures.append(repr(error))
                    continue
                if response.status_code == 200:
                    self.answers += 1
                    self.versions.add(response.json()["version"])
                else:
                    self.failures.append(response.text)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        for thread in self._threads:
            thread.join()

    def more(self) -> None:
        """Until there are answers that were asked for after now."""
        seen = self.answers
        until(lambda: self.answers > seen + 2 * len(self._threads) or self.failures)


def test_a_rolling_restart_loses_no_request(start_gateway):
    """As Kubernetes does it: a gateway that is not ready gets no more requests, then it stops."""
    options = ("--workers=1", "--drain=30")
    gateways = [start_gateway(*options), start_gateway(*options)]
    with Callers(gateways, threads=4) as callers:
        callers.more()
        for old in list(gateways):
            old.process.send_signal(signal.SIGTERM)
            until(lambda old=old: not old.ready())
            callers.more()
            gateways[gateways.index(old)] = start_gateway(*options)
            callers.more()
            old.process.send_signal(signal.SIGTERM)
            assert old.process.wait(20) == 0
        callers.more()
    assert callers.failures == []


def test_files_are_read_again_on_sighup_and_no_request_is_lost(start_gateway, tmp_path):
    routes = tmp_path / "routes.toml"
    routes.write_text("[models.toy]\nsplit = [{ version = 1, weight = 1 }]\n")
    gateway = start_gateway("--workers=1", f"--routes={routes}")
    with Callers([gateway], threads=4) as callers:
        callers.more()
        assert callers.versions == {1}
        routes.write_text("[models.toy]\nsplit = [{ version = 2, weight = 1 }]\n")
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: 2 in callers.versions or callers.failures)
        # A file that cannot be used changes nothing.
        routes.write_text("[models")
        before = gateway.workers()
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: not set(before) & set(gateway.workers()))
        callers.versions.clear()
        callers.more()
    assert callers.failures == []
    assert callers.versions == {2}
    assert "kept the earlier routes and API keys" in gateway.log.read_text()
