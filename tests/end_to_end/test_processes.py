"""The whole path as processes: `rockstar serve`, `rockstar predict`, and how they handle failures."""

import asyncio
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from rockstar_client import AsyncGrpcClient, AsyncHttpClient
from rockstar_client.grpc import GrpcClient
from rockstar_client.http import HttpClient
from rockstar_training.config import CLASSIFIERS
from rockstar_training.datasets import load
from tests.command_line import invoke, invoke_json
from tests.end_to_end.conftest import ROOT, rockstar
from tests.end_to_end.heldout import held_out
from tests.images import png
from tests.load import Load
from tests.waiting import until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="looks at processes through /proc (Linux)"
)
IMAGE = png(load("digits").images[0, :, :, 0])


def post(service, data: bytes, content_type: str = "image/png") -> requests.Response:
    headers = {"Content-Type": content_type}
    return requests.post(f"{service.http}/predict/cnn", data=data, headers=headers, timeout=20)


def test_all_clients_are_equivalent(service, tmp_path):
    path = tmp_path / "digit.png"
    path.write_bytes(IMAGE)
    pictures = [path, IMAGE, Image.open(path)]

    async def awaited(client):
        async with client:
            metadata = await client.metadata("cnn", version=1)
            return await client.predict("cnn", pictures, top=10), metadata, await client.models()

    def blocking(client):
        with client:
            metadata = client.metadata("cnn", version=1)
            return client.predict("cnn", pictures, top=10), metadata, client.models()

    names = sorted(CLASSIFIERS)
    answers = [
        blocking(HttpClient(service.http)),
        blocking(GrpcClient(service.grpc, models=names)),
        asyncio.run(awaited(AsyncHttpClient(service.http))),
        asyncio.run(awaited(AsyncGrpcClient(service.grpc, models=names))),
    ]
    first = answers[0][0]
    for answer, metadata, listed in answers:
        assert answer.labels == metadata.contract.labels == tuple("0123456789")
        np.testing.assert_allclose(answer.probabilities, first.probabilities, atol=1e-6)
        # The same image as a path, bytes and a picture.
        for each in answer.probabilities[1:]:
            np.testing.assert_allclose(each, answer.probabilities[0], atol=1e-6)
        assert [p.label for p in answer.predictions] == [first.predictions[0].label] * 3
        assert metadata == answers[0][1]
        assert sorted(listed, key=lambda model: model.model) == sorted(
            answers[0][2], key=lambda model: model.model
        )


def test_no_process_maps_tensorflow(start_service, models):
    service = start_service(models, "--workers=2")
    assert post(service, IMAGE).status_code == 200
    processes = service.tree()
    assert len(processes) == 5  # supervisor, model server, gunicorn and two workers
    for pid, command in processes.items():
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert "site-packages/tensorflow/" not in mapped, command


def test_both_servers_log_as_json(start_service, models):
    service = start_service(models, "--log-format=json")
    assert post(service, IMAGE).status_code == 200
    until(lambda: "/predict/cnn" in service.log.read_text())
    # Every line is JSON, without LiteRT's own log.
    loggers = {json.loads(line)["logger"] for line in service.log.read_text().splitlines()}
    for server in ("rockstar_serving.gateway", "rockstar_serving.model_server"):
        assert any(logger.startswith(server) for logger in loggers), loggers


@pytest.mark.parametrize("module", ["rockstar_serving.model_server", "rockstar_serving.gateway"])
def test_a_child_that_dies_is_restarted_and_the_service_recovers(start_service, models, module):
    service = start_service(models)
    before = post(service, IMAGE).json()
    killed = service.pid_of(module)
    os.kill(killed, signal.SIGKILL)

    def recovered() -> bool:
        try:
            response = post(service, IMAGE)
        except requests.ConnectionError:  # a worker that lost its parent handled it
            return False
        assert response.status_code in (200, 503), response.text
        return response.status_code == 200 and "starting it again" in service.log.read_text()

    until(recovered, what="recovery")
    until(lambda: " is back" in service.log.read_text(), what="the child")
    # Each gateway worker reconnects by itself within a second.
    until(lambda: post(service, IMAGE).json() == before, what="the same answer as before")
    with GrpcClient(service.grpc) as grpc:
        assert grpc.predict("cnn", IMAGE).predictions[0].label == before["predictions"][0]["label"]


@pytest.mark.parametrize("external", [False, True], ids=["granian", "gunicorn"])
def test_a_gateway_whose_parent_is_killed_loses_no_request(
    start_service, service, models, external
):
    options = (f"--tfserving={service.grpc}", "--model=cnn") if external else ()
    service = start_service(models, *options)
    with Load([service.http], "cnn", [IMAGE]) as load:
        load.more()
        os.kill(service.pid_of("rockstar_serving.gateway"), signal.SIGKILL)
        until(lambda: "the gateway is back" in service.log.read_text(), what="the gateway")
        load.more()
    assert load.failures == []


def test_a_model_that_was_damaged_meanwhile_does_not_take_the_others_down(
    start_service, models, tmp_path
):
    shutil.copytree(models, tmp_path / "models")
    # One worker: another might not have read the models yet.
    service = start_service(tmp_path / "models", "--workers=1")
    (tmp_path / "models" / "mlp" / "1" / "model.tflite").write_bytes(b"damaged")
    os.kill(service.pid_of("rockstar_serving.model_server"), signal.SIGKILL)
    until(lambda: "the model server is back" in service.log.read_text())

    def states() -> dict[str, str]:
        urls = {name: f"http://{service.rest}/v1/models/{name}" for name in ("cnn", "mlp")}
        answers = {name: requests.get(url, timeout=20).json() for name, url in urls.items()}
        return {name: each["model_version_status"][0]["state"] for name, each in answers.items()}

    assert states() == {"cnn": "AVAILABLE", "mlp": "END"}
    # The gateway's workers have all three in memory.
    assert requests.get(f"{service.http}/readyz", timeout=20).status_code == 200
    assert post(service, IMAGE).status_code == 200


def test_no_child_outlives_a_killed_parent(start_service, models):
    service = start_service(models)
    pids = list(service.tree())
    service.process.kill()
    service.process.wait(10)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="their end")


def test_a_new_version_is_picked_up_and_no_request_fails(start_service, models, tmp_path):
    shutil.copytree(models / "cnn", tmp_path / "models" / "cnn")
    service = start_service(tmp_path / "models")
    (spec,) = requests.get(f"{service.http}/v2/models/cnn", timeout=20).json()["inputs"]
    tensor = json.dumps({"instances": np.zeros((1, *spec["shape"][1:])).tolist()}).encode()
    tensors = Load([service.http], "cnn", [tensor], path="/v1/models/cnn:predict")
    with Load([service.http], "cnn", [IMAGE]) as load, tensors:
        load.more()
        for version in (2, 3):
            aside = tmp_path / "models" / "cnn" / f".incoming-{version}"
            shutil.copytree(models / "cnn" / "1", aside)
            aside.rename(aside.with_name(str(version)))
            load.until_version(version)
            tensors.more()
    assert load.failures + tensors.failures == []
    (listed,) = requests.get(f"{service.http}/v1/models", timeout=20).json()["models"]
    assert {"version": 3, "state": "AVAILABLE"} in listed["versions"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_in_time(start_service, models, number):
    service = start_service(models)
    pids = list(service.tree())
    service.process.send_signal(number)
    assert service.process.wait(10) == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert "Traceback" not in service.log.read_text()


def refused(*arguments: str, naming: str) -> None:
    ports = ["--port=0", "--grpc-port=0", "--rest-port=0"]
    done = rockstar("serve", *ports, *arguments)
    assert done.returncode == 1
    assert naming in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_serve_errors(models, tmp_path):
    refused(f"--models={tmp_path}", naming="holds no model")
    refused(f"--models={models}", "--host=192.0.2.1", naming="192.0.2.1")
    refused(f"--models={models}", "--grpc-port=8765", "--rest-port=8765", naming="different ports")
    broken = tmp_path / "cnn" / "1"
    broken.mkdir(parents=True)
    content = (models / "cnn" / "1" / "model.tflite").read_bytes()
    (broken / "model.tflite").write_bytes(content[: len(content) // 2])
    refused(f"--models={tmp_path}", naming=f"{broken}/model.tflite is damaged")


def test_a_temporary_folder_with_a_long_path_is_reported(models, tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    refused(
        f"--models={models}", naming=f"bytes shorter, so that a UNIX socket fits in, got {folder}"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="has no loopback address but 127.0.0.1")
def test_other_machines_reach_the_gateway_but_not_the_model_server(start_service, models):
    service = start_service(models, "--host=0.0.0.0", "--model=logistic", "--workers=1")
    reachable = []
    for address in (service.http, service.grpc, service.rest):
        with socket.socket() as client:
            # Only a server that listens on all addresses listens on this one.
            if client.connect_ex(("127.0.0.2", int(address.rpartition(":")[2]))) == 0:
                reachable.append(address)
    assert reachable == [service.http]


def test_only_a_gateway_in_front_of_another_server(start_service, service, models):
    """The embedded server stands in for TensorFlow Serving."""
    gateway = start_service(models, f"--tfserving={service.grpc}", "--model=cnn")
    assert "rockstar_serving.model_server" not in " ".join(gateway.tree().values())
    assert post(gateway, IMAGE).json() == post(service, IMAGE).json()


def test_a_gateway_waits_for_a_server_that_is_not_there_yet(start_service, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
    service = start_service(tmp_path, f"--tfserving={address}", "--model=cnn")
    response = post(service, IMAGE)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert requests.get(f"{service.http}/livez", timeout=20).status_code == 200
    assert requests.get(f"{service.http}/readyz", timeout=20).status_code == 503


def test_predict_prints_predictions(service, tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    first.write_bytes(IMAGE)
    second.write_bytes(png(load("digits").images[1, :, :, 0]))
    done = rockstar("predict", "--url", service.http, "--model", "cnn", str(first), str(second))
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        [str(first), "0"],
        [str(second), "1"],
    ]
    with first.open("rb") as image:
        piped = rockstar(
            *("predict", "--model", "cnn", "-"),
            stdin=image,
            env=os.environ | {"ROCKSTAR_URL": service.http},
        )
    assert piped.stdout.split()[:2] == ["-", "0"]
    direct = invoke("predict", "--grpc", service.grpc, "--model", "cnn", first, second)
    assert direct.stdout == done.stdout
    document = invoke_json("predict", "--url", service.http, "--model", "cnn", first)
    assert document["predictions"][0]["label"] == "0"


def test_predict_errors(service, tmp_path):
    image, text = tmp_path / "a.png", tmp_path / "a.txt"
    image.write_bytes(IMAGE)
    text.write_text("no image")
    for arguments, naming in [
        (["--model", "cnn", str(image), str(text)], f"{text}: expected an image"),
        (["--model", "nose", str(image)], "cnn, logistic, mlp"),
        (["--model", "cnn", "--version", "9", str(image)], "cnn has no version 9; available: 1"),
        ([str(image)], "--model cnn | logistic | mlp"),
    ]:
        done = invoke("predict", "--url", service.http, *arguments)
        assert done.exit_code != 0
        assert naming in done.stderr
        assert "Traceback" not in done.stderr
    other = invoke("predict", "--url", f"http://{service.rest}", "--model", "cnn", str(image))
    assert "is that a RockstarTF gateway?" in other.stderr
    tls = service.http.replace("http", "https")
    assert (
        "does not speak TLS" in invoke("predict", "--url", tls, "--model", "cnn", str(image)).stderr
    )
    nobody = invoke("predict", "--grpc", "127.0.0.1:1", "--model", "cnn", str(image))
    assert nobody.exit_code == 3
    assert "127.0.0.1:1" in nobody.stderr


def test_the_demo_predicts_as_in_training(trained_models, tmp_path):
    for room in ("models", "runs"):
        (tmp_path / room).symlink_to(trained_models.workdir / room)
    command = [sys.executable, "examples/demo.py", "--workdir", str(tmp_path), "--once"]
    ports = ["--port=0", "--grpc-port=0", "--rest-port=0"]
    done = subprocess.run([*command, *ports], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all 360 (HTTP) and 40 (gRPC)") == 3
    assert (tmp_path / "samples" / "7.png").exists()


def test_many_predictions_are_those_of_training(service, trained_models, tmp_path):
    files, predicted, scores = held_out(trained_models.workdir / "runs" / "cnn-1")
    images = tmp_path / "images"
    images.mkdir()
    for number, file in enumerate(files):
        (images / f"{number:04}.png").write_bytes(file)
    for place in (["--url", service.http], ["--grpc", service.grpc]):
        out = tmp_path / f"{place[0]}.csv"
        done = rockstar("predict", *place, "--model", "cnn", str(images), "-o", str(out))
        assert done.returncode == 0, done.stderr
        assert f"{len(files)} items, 0 failed" in done.stderr
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        # Few predictions are uncertain.
        sure = [row["label"] == label for row, label in zip(rows, predicted, strict=True)]
        assert sum(sure) > 0.95 * len(rows)
        assert {row["label"] for row, same in zip(rows, sure, strict=True) if not same} <= {""}
        assert [float(row["score"]) for row in rows] == pytest.approx(scores, abs=1e-5)
