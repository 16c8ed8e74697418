"""Several workers: shared metrics and key limits, one log line for each request, warnings."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from rockstar_client.errors import CallError, OverloadedError
from rockstar_client.http import HttpClient
from rockstar_serving.listening import listener, reserve
from tests.integration.gateway.conftest import ROOT, total
from tests.litert_models import without_a_constant
from tests.model_fixtures import toy_model, write_version
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="looks at processes through /proc (Linux)"
)


# The loggers of the servers themselves.
OWN_LOGGERS = {"gunicorn": "gunicorn.error", "granian": "_granian"}
COMMAND = [sys.executable, "-m", "rockstar_serving.gateway", "--model=toy"]


def answered(gateway) -> float:
    return total(gateway, "rockstar_requests_total", model="toy")


def post_until_all_workers_counted(gateway, folder: Path, workers: int) -> int:
    """Returns the number of requests that it took."""
    sent = 0

    def all_counted() -> bool:
        nonlocal sent
        assert gateway.predict().status_code == 200
        sent += 1
        return len(list(folder.glob("*/counter_*.db"))) == workers

    until(all_counted)
    return sent


def test_the_metrics_of_every_worker_are_those_of_all(start_gateway, toy_server, tmp_path):
    gateway = start_gateway("--workers=2", f"--metrics-dir={tmp_path}")
    sent = post_until_all_workers_counted(gateway, tmp_path, 2)
    assert [answered(gateway) for _ in range(10)] == [sent] * 10
    assert total(gateway, "rockstar_request_seconds_count", model="toy") == sent
    assert total(gateway, "rockstar_predictions_total", label="zero") == sent

    toy_server.proceed.clear()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(gateway.predict) for _ in range(8)]
        until(lambda: total(gateway, "rockstar_requests_in_flight") == 8)
        toy_server.proceed.set()
        assert {answer.result().status_code for answer in answers} == {200}
    until(lambda: total(gateway, "rockstar_requests_in_flight") == 0)
    assert answered(gateway) == sent + 8

    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(20) == 0
    assert list(tmp_path.glob("rockstar-metrics-*")) == []


def test_files_that_would_end_a_worker_do_not(start_gateway, tmp_path):
    crashing = write_version(tmp_path / "crashing", 1, without_a_constant(toy_model(1))).parent
    piped = write_version(tmp_path / "piped", 1, toy_model(1)).parent
    os.mkfifo(piped / "1" / "manifest.json")
    config = tmp_path / "models.config"
    models = "".join(
        f'config {{ name: "{each.name}" base_path: "{each}" model_platform: "tensorflow" }}\n'
        for each in (crashing, piped)
    )
    config.write_text(f"model_config_list {{ {models} }}")
    gateway = start_gateway("--workers=1", f"--models-config={config}")
    workers = gateway.workers()
    for name in ("crashing", "piped"):
        path = f"/predict/{name}"
        assert gateway.predict(path=path).status_code == 200  # of the toy server
    assert gateway.predict().status_code == 200
    assert gateway.workers() == workers
    assert "ended the process in which LiteRT tried it" in gateway.log.read_text()


def test_counters_do_not_go_back_when_workers_end(start_gateway, toy_server, tmp_path):
    gateway = start_gateway("--workers=2", f"--metrics-dir={tmp_path}")
    sent = post_until_all_workers_counted(gateway, tmp_path, 2)
    toy_server.proceed.clear()
    with ThreadPoolExecutor(4) as pool:
        lost = [pool.submit(gateway.predict) for _ in range(4)]
        until(lambda: total(gateway, "rockstar_requests_in_flight") == 4)
        before = gateway.workers()
        for worker in before:
            subprocess.run(["kill", "-9", str(worker)], check=True)
        assert all(isinstance(call.exception(), requests.ConnectionError) for call in lost)
    toy_server.proceed.set()
    until(lambda: len(set(gateway.workers()) - set(before)) == 2)
    until(gateway.ready)
    assert answered(gateway) == sent
    # Requests in flight of dead workers are not counted.
    assert total(gateway, "rockstar_requests_in_flight") == 0

    before = gateway.workers()
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: not set(before) & set(gateway.workers()))
    until(gateway.ready)
    assert gateway.predict().status_code == 200
    assert answered(gateway) == sent + 1
    assert total(gateway, "rockstar_request_seconds_count", model="toy") == sent + 1
    # However often workers restart: the live ones, and one for all dead ones.
    assert len(list(tmp_path.glob("*/counter_*.db"))) <= 3


def test_a_worker_that_is_killed_again_and_again_does_not_end_the_others(start_gateway):
    gateway = start_gateway("--workers=2")
    for _ in range(3):
        until(lambda: len(gateway.workers()) == 2)
        other, newest = gateway.workers()
        os.kill(newest, signal.SIGKILL)
        until(lambda: set(gateway.workers()) - {other, newest})  # noqa: B023
        assert other in gateway.workers()
    assert gateway.predict().status_code == 200


def test_a_folder_that_cannot_be_used(tmp_path, host):
    missing = tmp_path / "missing"
    command = [*COMMAND, f"--server={host}", f"--metrics-dir={missing}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "ROCKSTAR_METRICS_DIR: expected a folder to write to, got" in done.stderr
    assert str(missing) in done.stderr
    assert "Traceback" not in done.stderr


def test_each_line_of_a_json_log_is_an_object(start_gateway, toy_server, host):
    gateway = start_gateway("--workers=2", "--log-format=json")
    trace = "0af7651916cd43dd8448eb211c80319c"
    traceparent = f"00-{trace}-b7ad6b7169203331-01"
    good = gateway.predict(**{"X-Request-ID": "good-1", "traceparent": traceparent})
    bad = gateway.predict(b"nothing", **{"X-Request-ID": "bad-1"})
    assert (good.status_code, bad.status_code) == (200, 400)
    until(lambda: all(name in gateway.log.read_text() for name in ("good-1", "bad-1")))
    # The server's own messages about an invalid request and a killed worker.
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100)
    (worker, *_) = before = gateway.workers()
    subprocess.run(["kill", "-9", str(worker)], check=True)
    until(lambda: set(gateway.workers()) - set(before))
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: not set(before) & set(gateway.workers()))
    toy_server.stop()
    assert gateway.predict().status_code == 503
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(20) == 0

    entries = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    assert all({"timestamp", "level", "logger", "message"} <= entry.keys() for entry in entries)
    assert OWN_LOGGERS[host] in {entry["logger"] for entry in entries}
    (line,) = (entry for entry in entries if entry.get("request_id") == "good-1")
    assert (line["trace_id"], line["status"], line["model"]) == (trace, 200, "toy")
    assert (line["version"], line["instances"], line["path"]) == (2, 1, "/predict/toy")
    assert line["milliseconds"] >= line["upstream_milliseconds"] > 0
    (line,) = (entry for entry in entries if entry.get("request_id") == "bad-1")
    assert line["status"] == 400
    # One line per request.
    assert [entry["status"] for entry in entries if "path" in entry] == [200, 400, 503]


def test_workers_share_the_limits_of_keys(start_gateway, tmp_path):
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
    assert (statuses.count(404), statuses.count(429)) == (10, 20)
    with HttpClient(gateway.url, api_key="key") as client, pytest.raises(OverloadedError):
        client.models()


def test_a_warning_if_others_can_reach_a_gateway_without_keys(host):
    bind = {"gunicorn": listener, "granian": reserve}[host]
    with bind("0.0.0.0", 0, "--bind") as bound:
        command = [*COMMAND, f"--server={host}", f"--bind=fd://{bound.fileno()}"]
        process = subprocess.Popen(
            command, cwd=ROOT, pass_fds=(bound.fileno(),), stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            assert "there are no API keys" in process.stderr.readline()
        finally:
            process.terminate()
            process.communicate(timeout=20)


def test_granian_refuses_a_socket_on_which_it_would_miss_connections():
    with listener("127.0.0.1", 0, "--bind") as bound:
        done = subprocess.run(
            [*COMMAND, "--server=granian", f"--bind=fd://{bound.fileno()}"],
            cwd=ROOT,
            pass_fds=(bound.fileno(),),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "set --server to gunicorn" in done.stderr
    assert "Traceback" not in done.stderr
