"""Several workers that tell the same: metrics are those of all, and each request is one line."""

import json
import signal
import socket
import subprocess
import sys
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
HEADERS = {"Content-Type": "image/png"}


def post(gateway, path="/predict/toy", data=IMAGE, **headers) -> requests.Response:
    """Ask over a connection of its own, which any worker may take."""
    url = f"{gateway.url}{path}"
    return requests.post(url, data=data, headers=HEADERS | headers, timeout=30)


def answered(gateway) -> float:
    return total(gateway, "rockstar_requests_total", model="toy")


def post_until_all_workers_counted(gateway, folder: Path, workers: int) -> int:
    """How many requests that took."""
    sent = 0

    def all_counted() -> bool:
        nonlocal sent
        assert post(gateway).status_code == 200
        sent += 1
        return len(list(folder.glob("*/counter_*.db"))) == workers

    until(all_counted)
    return sent


def test_every_worker_tells_the_numbers_of_all(start_gateway, toy_server, tmp_path):
    gateway = start_gateway("--workers=2", f"--metrics-dir={tmp_path}")
    sent = post_until_all_workers_counted(gateway, tmp_path, 2)
    assert [answered(gateway) for _ in range(10)] == [sent] * 10
    assert total(gateway, "rockstar_request_seconds_count", model="toy") == sent
    assert total(gateway, "rockstar_predictions_total", label="zero") == sent

    toy_server.proceed.clear()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(post, gateway) for _ in range(8)]
        until(lambda: total(gateway, "rockstar_requests_in_flight") == 8)
        toy_server.proceed.set()
        assert {answer.result().status_code for answer in answers} == {200}
    until(lambda: total(gateway, "rockstar_requests_in_flight") == 0)
    assert answered(gateway) == sent + 8

    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(20) == 0
    assert list(tmp_path.glob("rockstar-metrics-*")) == []


def test_counters_do_not_go_back_when_workers_end(start_gateway, toy_server, tmp_path):
    gateway = start_gateway("--workers=2", f"--metrics-dir={tmp_path}")
    sent = post_until_all_workers_counted(gateway, tmp_path, 2)
    toy_server.proceed.clear()
    with ThreadPoolExecutor(4) as pool:
        lost = [pool.submit(post, gateway) for _ in range(4)]
        until(lambda: total(gateway, "rockstar_requests_in_flight") == 4)
        before = gateway.workers()
        for worker in before:
            subprocess.run(["kill", "-9", str(worker)], check=True)
        assert all(isinstance(call.exception(), requests.ConnectionError) for call in lost)
    toy_server.proceed.set()
    until(lambda: len(set(gateway.workers()) - set(before)) == 2)
    until(gateway.ready)
    assert answered(gateway) == sent
    # What they were doing is forgotten.
    assert total(gateway, "rockstar_requests_in_flight") == 0

    before = gateway.workers()
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: not set(before) & set(gateway.workers()))
    until(gateway.ready)
    assert post(gateway).status_code == 200
    assert answered(gateway) == sent + 1
    assert total(gateway, "rockstar_request_seconds_count", model="toy") == sent + 1
    # However often they are restarted: those that live, and one for all that have ended.
    assert len(list(tmp_path.glob("*/counter_*.db"))) <= 3


def test_a_folder_that_cannot_be_used(tmp_path):
    missing = tmp_path / "missing"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rockstar_serving.gateway",
            "--model=toy",
            f"--metrics-dir={missing}",
        ],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "ROCKSTAR_METRICS_DIR: expected a folder to write to, got" in done.stderr
    assert str(missing) in done.stderr
    assert "Traceback" not in done.stderr


def test_each_line_of_a_json_log_is_an_object(start_gateway, toy_server):
    gateway = start_gateway("--workers=2", "--log-format=json")
    trace = "0af7651916cd43dd8448eb211c80319c"
    traceparent = f"00-{trace}-b7ad6b7169203331-01"
    good = post(gateway, **{"X-Request-ID": "good-1", "traceparent": traceparent})
    bad = post(gateway, data=b"nothing", **{"X-Request-ID": "bad-1"})
    assert (good.status_code, bad.status_code) == (200, 400)
    until(lambda: all(name in gateway.log.read_text() for name in ("good-1", "bad-1")))
    # What gunicorn has to say, of a request that is none and of a worker that was killed.
    with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100)
    (worker, *_) = before = gateway.workers()
    subprocess.run(["kill", "-9", str(worker)], check=True)
    until(lambda: set(gateway.workers()) - set(before))
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: not set(before) & set(gateway.workers()))
    toy_server.stop()
    assert post(gateway).status_code == 503
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(20) == 0

    entries = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    assert all({"timestamp", "level", "logger", "message"} <= entry.keys() for entry in entries)
    assert "gunicorn.error" in {entry["logger"] for entry in entries}
    (line,) = (entry for entry in entries if entry.get("request_id") == "good-1")
    assert (line["trace_id"], line["status"], line["model"]) == (trace, 200, "toy")
    assert (line["version"], line["instances"], line["path"]) == (2, 1, "/predict/toy")
    assert line["milliseconds"] >= line["upstream_milliseconds"] > 0
    (line,) = (entry for entry in entries if entry.get("request_id") == "bad-1")
    assert line["status"] == 400
    # One line for each.
    assert [entry["status"] for entry in entries if "path" in entry] == [200, 400, 503]
