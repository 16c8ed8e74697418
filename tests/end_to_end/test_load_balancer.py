"""Gateways behind a real proxy: scaled, rolled and killed under load, without a failed request.

HAProxy stands for what is in front of pods on a cluster: it sends requests to those that pass their
readiness probe, and repeats a request whose connection broke.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.end_to_end.conftest import tree
from tests.end_to_end.heldout import held_out
from tests.end_to_end.pods import Pod
from tests.load import Load
from tests.manifests import config_map
from tests.ports import free_ports
from tests.waiting import until

_SLOTS = 4
_CONFIG = """
global
    stats socket {admin} level admin
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server 30s
    timeout check 5s
frontend predictions
    bind 127.0.0.1:{port}
    default_backend gateways
backend gateways
    balance leastconn
    option httpchk GET /readyz
    # A prediction changes nothing, so it may run twice; HAProxy repeats only what it has in whole.
    option http-buffer-request
    retries 3
    option redispatch
    retry-on conn-failure empty-response 503
    server-template gateway 1-{slots} 127.0.0.1:1 check inter 200ms fall 1 rise 1 disabled
"""


class Proxy:
    """HAProxy, and the gateways in its slots."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._admin = str(folder / "admin.sock")
        self._slots: dict[str, int] = {}
        config = folder / "haproxy.cfg"
        config.write_text(_CONFIG.format(admin=self._admin, port=port, slots=_SLOTS))
        with (folder / "haproxy.log").open("w") as log:
            self._process = subprocess.Popen(
                ["haproxy", "-db", "-f", config], stdout=log, stderr=log
            )
        until(lambda: Path(self._admin).exists(), what="HAProxy")

    def add(self, gateway: Pod) -> None:
        """Send requests to a gateway, too; returns when it gets some."""
        address = gateway.addresses["http"]
        slot = min(set(range(1, _SLOTS + 1)) - set(self._slots.values()))
        self._slots[address] = slot
        host, _, port = address.partition(":")
        self._do(f"set server gateways/gateway{slot} addr {host} port {port}")
        self._do(f"set server gateways/gateway{slot} state ready")
        until(lambda: self._is_up(slot), what=f"gateway {slot} in HAProxy")

    def remove(self, gateway: Pod) -> None:
        """Free the slot of a gateway that has stopped."""
        slot = self._slots.pop(gateway.addresses["http"])
        self._do(f"set server gateways/gateway{slot} state maint")

    def is_used(self, gateway: Pod) -> bool:
        return self._is_up(self._slots[gateway.addresses["http"]])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _is_up(self, slot: int) -> bool:
        header, *rows = self._do("show stat gateways -1 -1").strip("# \n").splitlines()
        names = header.split(",")
        servers = [dict(zip(names, row.split(","), strict=False)) for row in rows]
        (row,) = [each for each in servers if each["svname"] == f"gateway{slot}"]
        return row["status"].startswith("UP")

    def _do(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._admin)
            connection.sendall(f"{command}\n".encode())
            with connection.makefile() as answer:
                return answer.read()


@pytest.fixture
def proxy(tmp_path) -> Iterator[Proxy]:
    if shutil.which("haproxy") is None:
        pytest.skip("needs HAProxy, Debian's package haproxy")
    proxy = Proxy(tmp_path)
    yield proxy
    proxy.close()


@pytest.mark.slow
def test_gateways_are_scaled_rolled_and_killed_without_a_failed_request(
    start_pods, trained_models, proxy
):
    pods = start_pods("embedded")
    # As long as HAProxy needs to notice; a load balancer on a cluster takes longer.
    config_map(pods.documents, "gateway-settings")["ROCKSTAR_DRAIN"] = "1"
    upstream = pods.model_server().addresses["grpc"]

    def new_gateway():
        gateway = pods.gateway(upstream)
        proxy.add(gateway)
        return gateway

    images, _, _ = held_out(trained_models.workdir / "runs" / "cnn-1")
    first = new_gateway()
    with Load([proxy.url], "cnn", images[:8]) as load:
        load.more()

        # From one to two.
        second = new_gateway()
        load.more()

        # A rolling update: a new one first, then the old one leaves.
        third = new_gateway()
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(30) == 0
        proxy.remove(first)
        load.more()

        # A node fails.
        for pid in tree(second.process.pid):
            os.kill(pid, signal.SIGKILL)
        second.process.wait()
        until(lambda: not proxy.is_used(second), what="HAProxy without the killed gateway")
        proxy.remove(second)
        load.more()

        # Back to two, and to one.
        fourth = new_gateway()
        third.process.send_signal(signal.SIGTERM)
        assert third.process.wait(30) == 0
        load.more()
    assert load.failures == []
    assert proxy.is_used(fourth)
    assert requests.get(f"{proxy.url}/readyz", timeout=20).ok
