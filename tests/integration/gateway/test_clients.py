"""Clients that are slow or many, and a gateway that others can reach."""

import hashlib
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from rockstar_client.errors import CallError, OverloadedError
from rockstar_client.http import HttpClient
from tests.images import png, stroke
from tests.integration.gateway.conftest import ROOT
from tests.waiting import until

IMAGE = png(stroke())


def test_a_body_that_stops_arriving_is_given_up(start_gateway):
    gateway = start_gateway("--workers=1", "--threads=1", "--queue=0", "--upload-timeout=0.2")
    port = int(gateway.url.rpartition(":")[2])
    head = b"POST /predict/toy HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100\r\n"
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(head + b"\r\nhalf")
        answer = slow.makefile("rb").readline()
    assert answer.startswith(b"HTTP/1.1 408 ")
    # Its place is free again.
    response = requests.post(f"{gateway.url}/predict/toy", data=IMAGE, headers={"Content-Type": "image/png"}, timeout=20)  # fmt: skip
    assert response.status_code == 200


def test_too_many_are_refused_at_once_and_probes_are_not(start_gateway, toy_server):
    gateway = start_gateway("--workers=1", "--threads=1", "--queue=2")
    toy_server.proceed.clear()

    def post() -> requests.Response:
        headers = {"Content-Type": "image/png"}
        return requests.post(f"{gateway.url}/predict/toy", data=IMAGE, headers=headers, timeout=20)

    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(post) for _ in range(12)]
        until(lambda: sum(answer.done() for answer in answers) == 9)
        assert requests.get(f"{gateway.url}/livez", timeout=20).status_code == 200
        toy_server.proceed.set()
        statuses = sorted(answer.result().status_code for answer in answers)
    assert statuses == [200] * 3 + [429] * 9


def test_who_can_be_reached_by_others_without_keys_is_told(toy_server, tmp_path):
    with socket.create_server(("0.0.0.0", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "rockstar_serving.gateway", "--model=toy", f"--bind=fd://{listener.fileno()}"],
            cwd=ROOT, env=os.environ, pass_fds=(listener.fileno(),), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            assert "there are no API keys" in process.stderr.readline()
        finally:
            process.terminate()
            process.communicate(timeout=20)


def test_workers_share_the_counts_of_keys(start_gateway, tmp_path):
    digest = hashlib.sha256(b"key").hexdigest()
    keys = tmp_path / "keys.toml"
    keys.write_text(f"[keys.alice]\nsha256 = '{digest}'\nrate = '10/day'\n")
    gateway = start_gateway("--workers=2", f"--api-keys-file={keys}")

    with HttpClient(gateway.url) as client, pytest.raises(CallError, match="An API key is needed"):
        client.models()

    def ask(_: int) -> int:
        headers = {"Authorization": "Bearer key"}
        return requests.get(f"{gateway.url}/nowhere", headers=headers, timeout=20).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(30)))
    assert statuses.count(404) == 10
    assert statuses.count(429) == 20
    with HttpClient(gateway.url, api_key="key") as client, pytest.raises(OverloadedError):
        client.models()
