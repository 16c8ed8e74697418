"""`rockstar bench`, `explain`, `check` and `gateway` with a running gateway."""

import json
import signal
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.command_line import invoke, invoke_json, serving, start
from tests.images import png, stroke
from tests.integration.gateway.conftest import Gateway, ToyServer, running, serving_toy
from tests.waiting import until

PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def toy_server() -> Iterator[ToyServer]:
    with serving_toy() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(toy_server, tmp_path_factory) -> Iterator[Gateway]:
    """On one host: the commands do not know which it is."""
    log = tmp_path_factory.mktemp("gateway") / "log"
    with running(toy_server.port, log, "--model=toy", server="granian") as gateway:
        yield gateway


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "one.png"
    path.write_bytes(png(stroke()))
    return path


def test_bench_over_http(gateway, image, toy_server):
    before = toy_server.predictions
    found = invoke_json(
        *("bench", "--url", gateway.url, "--model", "toy", image),
        *("--requests", 40, "--connections", 4, "--duration", 600),
    )
    assert (found["requests"], found["failed"], found["errors"]) == (40, 0, {})
    assert found["target"] == f"{gateway.url}/predict/toy"
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert found["latency_ms"]["longest"] <= found["seconds"] * 1000
    assert sum(each["requests"] for each in found["histogram"]) == 40
    # One more request checks that it works.
    assert toy_server.predictions - before == 41


def test_bench_over_grpc_calls_the_model_server(toy_server, image):
    before = toy_server.predictions
    found = invoke_json(
        *("bench", "--grpc", f"127.0.0.1:{toy_server.port}", "--model", "toy", image),
        *("--requests", 12, "--connections", 3, "--version", 1),
    )
    assert (found["requests"], found["failed"]) == (12, 0)
    assert toy_server.predictions - before == 13


def test_bench_for_people(gateway, image):
    result = invoke(
        *("bench", "--url", gateway.url, "--model", "toy", image),
        *("--requests", 20, "--rate", 1000),
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"{gateway.url}/predict/toy, 16 connections, 1000 due per second"
    assert lines[1].startswith("  20 answered in ")
    assert "latency in ms, from when each was due: p50 " in lines[2]
    assert "█" in result.stdout


def test_bench_counts_rejections(start_gateway, image):
    gateway = start_gateway("--rate-limit=5/minute", "--workers=1", "--api-keys=me:" + HASH)
    options = ("--model", "toy", image, "--requests", 20, "--json")
    result = invoke("bench", "--url", gateway.url, "--api-key", KEY, *options)
    assert result.exit_code == 4
    found = json.loads(result.stdout)
    assert list(found["errors"]) == ["429"]
    assert 0 < found["requests"] < 5
    assert found["requests"] + found["failed"] == 20
    assert result.stderr == f"{found['failed']} requests failed: 429 {found['failed']}\n"


KEY = "rock-of-ages"
HASH = "c2f6016b32b9c7b9e1ebf899fb7b9f33a2c77baf8320c47db049d86ed77bc5a0"


def test_ctrl_c_ends_bench_with_a_word(gateway, image, toy_server):
    before = toy_server.predictions
    process = start("bench", "--url", gateway.url, "--model", "toy", image, "--duration", 600)
    until(lambda: toy_server.predictions > before + 2, what="a load test that sends")
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == ""
    assert errors.split() == ["Interrupted."]


def test_explain_prints_label_and_regions_and_saves_the_picture(gateway, image, tmp_path):
    out = tmp_path / "why.png"
    result = invoke("explain", "--url", gateway.url, "--model", "toy", image, "-o", out)
    assert result.exit_code == 0, result.output
    # The toy's prediction does not depend on what is covered.
    assert f"{image}  zero 1.0000  no single part led to the answer  ({out})" in result.stdout
    assert out.read_bytes().startswith(PNG)


def test_explain_several_into_a_folder(gateway, image, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    other = tmp_path / "other.png"
    other.write_bytes(image.read_bytes())
    result = invoke(
        *("explain", "--url", gateway.url, "--model", "toy", "--of", "two", "--json"),
        *(image, text, other, "-o", tmp_path / "heat"),
    )
    assert result.exit_code == 4
    assert result.stderr.startswith(f"Error: {text}: ")
    assert "expected an image" in result.stderr
    (line,) = result.stdout.splitlines()
    first, second = json.loads(line)["explanations"]
    assert (first["file"], second["file"]) == (str(image), str(other))
    assert (first["label"], first["score"], first["evidence"]) == ("two", 0.0, [])
    assert first["picture"] == str(tmp_path / "heat" / "one.png")
    assert Path(first["picture"]).read_bytes().startswith(PNG)
    assert len(first["heatmap"]) == len(first["heatmap"][0]) == 8


def test_check_of_a_service(gateway):
    found = invoke_json("check", "--url", gateway.url)
    assert found["ok"]
    assert [check["detail"] for check in found["checks"]] == [
        "alive",
        "ready: toy",
        "versions: 2 AVAILABLE, 1 AVAILABLE",
    ]


def test_check_of_a_service_without_its_model_server(tmp_path):
    with (
        serving_toy() as server,
        running(server.port, tmp_path / "log", "--model=toy", server="granian") as gateway,
    ):
        server.stop()
        result = invoke("check", "--url", gateway.url)
    assert result.exit_code == 1
    assert "not ready: model toy UNAVAILABLE" in result.stdout
    assert "checks failed" in result.stderr


def test_check_of_another_server(toy_server):
    result = invoke("check", "--url", f"http://127.0.0.1:{toy_server.port}", "--json")
    assert result.exit_code == 1
    (check,) = json.loads(result.stdout)["checks"]
    assert check["status"] == "failed"
    assert check["fix"]


def test_a_gateway_prints_its_address_as_json(toy_server, tmp_path, host):
    upstream = f"127.0.0.1:{toy_server.port}"
    server = f"--server={host}"
    options = ("--bind=127.0.0.1:0", "--upstream", upstream, "--model=toy", server)
    with serving("gateway", *options, log=tmp_path / "log") as printed:
        assert (printed["upstream"], printed["models"]) == (upstream, ["toy"])
        found = json.loads(invoke("check", "--url", printed["http"], "--json").stdout)
        assert found["checks"][0]["detail"] == "alive"


def test_a_unix_socket(toy_server, tmp_path, host):
    path, upstream = tmp_path / "socket", f"127.0.0.1:{toy_server.port}"
    options = (f"--bind=unix:{path}", "--upstream", upstream, "--model=toy", f"--server={host}")
    with serving("gateway", *options, log=tmp_path / "log") as printed:
        assert printed["http"] == f"unix:{path}"
        client = HTTPConnection("localhost")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(str(path))
        for url, prefix in (
            ("/predict/toy", {}),
            ("/ml/predict/toy", {"X-Forwarded-Prefix": "/ml"}),
        ):
            headers = {"Content-Type": "image/png", **prefix}
            client.request("POST", url, png(stroke()), headers)
            response = client.getresponse()
            assert (response.status, json.load(response)["model"]) == (200, "toy")
        client.close()
