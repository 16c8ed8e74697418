"""Batching in a real process with concurrent requests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.grpc_calls import predict_request, stub
from tests.integration.model_server.conftest import Start, ask
from tests.model_fixtures import document, write_version
from tests.waiting import until
from tfs_api.services import PREDICT
from tfs_api.tensors import to_array

SIZE = 4


@pytest.fixture
def flags(base_path: Path, tmp_path: Path) -> list[str]:
    file = tmp_path / "batching.pbtxt"
    file.write_text(
        f"max_batch_size {{ value: {SIZE} }} max_enqueued_batches {{ value: 1 }} "
        "num_batch_threads { value: 1 }"
    )
    return [
        *("--model_name=toy", f"--model_base_path={base_path}"),
        *("--port=auto", "--rest_api_port=auto", "--grpc_max_threads=32"),
        *("--enable_batching", f"--batching_parameters_file={file}"),
    ]


class Batched:
    """A server whose only batch thread runs a request until proceed() is called."""

    def __init__(self, start: Start, flags: list[str]) -> None:
        process = start(*flags, module="tests.integration.model_server.slow_server")
        self._folder = process.address_file.parent
        self.address = process.address()
        self.channel = grpc.insecure_channel(self.address["grpc"])
        self._predict = stub(self.channel, PREDICT)
        self.first = self.call()
        until(self.rows, what="the first request runs")

    def call(self, rows: int = 1, timeout: float = 60) -> Any:
        """Start a call; any number can run at a time."""
        request = predict_request("toy", "contract", query=np.zeros(rows, np.int32))
        return self._predict.future(request, timeout=timeout)

    def rows(self) -> list[int]:
        """Numbers of rows of each run so far."""
        file = self._folder / "rows"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def proceed(self) -> None:
        (self._folder / "proceed").touch()


@pytest.fixture
def batched(start: Start, flags: list[str]) -> Iterator[Batched]:
    server = Batched(start, flags)
    yield server
    server.channel.close()


def answer(future: Any) -> Any:
    return to_array(future.result(60).outputs["contract"]).tolist()


def test_waiting_requests_run_together_and_a_full_queue_rejects(batched: Batched) -> None:
    others = [batched.call() for _ in range(2 * SIZE)]
    until(lambda: sum(each.done() for each in others) == SIZE, what="what has no room is refused")
    refused = [each for each in others if each.done()]
    full = (
        "The batch scheduling queue to which this task was submitted is full; currently 1 batches "
        "enqueued and max_enqueued_batches is 1"
    )
    assert {(each.code(), each.details()) for each in refused} == {
        (grpc.StatusCode.UNAVAILABLE, full)
    }
    body = {"signature_name": "contract", "instances": [0]}
    assert ask(batched.address["rest"], "/v1/models/toy:predict", body) == (503, {"error": full})
    batched.proceed()
    for each in [batched.first, *(each for each in others if each not in refused)]:
        assert answer(each) == [document(1).encode()]
    assert batched.rows() == [1, SIZE]


def test_parameters_of_each_version(start: Start, flags: list[str], base_path: Path) -> None:
    for version, text in ((2, "max_batch_size { value: 1 }"), (3, "max_batch_size: 1")):
        folder = write_version(base_path, version)
        (folder / "batching_params.pbtxt").write_text(text)
    config = base_path.parent / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{ name: "toy" base_path: "{base_path}"
          model_platform: "tensorflow" model_version_policy {{ all {{}} }} }} }}"""
    )
    process = start(
        *flags, "--enable_per_model_batching_parameters", f"--model_config_file={config}"
    )
    rest = process.address()["rest"]
    body = {"signature_name": "contract", "instances": [0, 0]}
    assert ask(rest, "/v1/models/toy/versions/1:predict", body)[0] == 200
    assert ask(rest, "/v1/models/toy/versions/2:predict", body) == (
        400,
        {"error": "Task size 2 is larger than maximum input batch size 1"},
    )
    versions = ask(rest, "/v1/models/toy")[1]["model_version_status"]
    broken = next(each for each in versions if each["version"] == "3")
    assert broken["state"] == "END"
    assert "tensorflow.serving.BatchingParameters: 1:17" in broken["status"]["error_message"]
    process.popen.terminate()
    log = process.finish()[1]
    assert "without effect here: max_batch_size, max_enqueued_batches" in log
    assert "model toy version 1 is available (LiteRT, " in log
    assert "model toy version 2 is available (LiteRT with batching, " in log
