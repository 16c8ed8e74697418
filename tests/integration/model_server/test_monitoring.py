"""Metrics of a process, with official clients and a scraper."""

import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.integration.model_server.conftest import Process, Start, ask
from tests.metrics import CORE, SERVING, samples, totals
from tests.model_fixtures import SIDE, write_version
from tests.waiting import until
from tests.warmup_files import predict_log, write_records

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

PATH = "/monitoring/prometheus/metrics"
IMAGE = np.zeros((1, SIDE, SIDE, 1), dtype=np.float32)
COUNT = f"{SERVING}request_count"


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    base_path = tmp_path / "toy"
    write_records(write_version(base_path, 1), [predict_log({"image": IMAGE})])
    write_version(base_path, 2, b"half a model")
    return base_path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = tmp_path / "monitoring.config"
    config.write_text("prometheus_config { enable: true }")
    return config


@pytest.fixture
def process(start: Start, base_path: Path, config: Path) -> Process:
    return start(
        *("--model_name=toy", f"--model_base_path={base_path}", "--port=auto"),
        *("--rest_api_port=auto", f"--monitoring_config_file={config}"),
    )


@pytest.fixture
def stub(process: Process) -> Iterator[prediction_service_pb2_grpc.PredictionServiceStub]:
    with grpc.insecure_channel(process.address()["grpc"]) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def scrape(process: Process) -> str:
    address = process.address()["rest"]
    with urllib.request.urlopen(f"http://{address}{PATH}", timeout=30) as response:
        text: str = response.read().decode()
        return text


def request(model: str, **inputs: object) -> predict_pb2.PredictRequest:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def test_requests_over_both_protocols(
    process: Process, stub: prediction_service_pb2_grpc.PredictionServiceStub
) -> None:
    rest = process.address()["rest"]
    for _ in range(3):
        stub.Predict(request("toy", image=IMAGE))
    for wrong in (request("toy"), request("none", image=IMAGE), predict_pb2.PredictRequest()):
        with pytest.raises(grpc.RpcError):
            stub.Predict(wrong)
    assert ask(rest, "/v1/models/toy:predict", {"instances": IMAGE.tolist()})[0] == 200
    assert ask(rest, "/v1/models/toy:predict", {"instances": [1]})[0] == 400
    assert ask(rest, "/v1/models/toy")[0] == 200
    text = scrape(process)
    found = totals(text)
    assert {key[1:]: value for key, value in found.items() if key[0] == COUNT} == {
        ("toy", "OK"): 5,
        ("toy", "INVALID_ARGUMENT"): 2,
        ("none", "NOT_FOUND"): 1,
        ("", "INVALID_ARGUMENT"): 1,
    }
    latency, runtime = f"{SERVING}request_latency_count", f"{SERVING}runtime_latency_count"
    assert found[latency, "toy", "Predict", "GRPC"] == 3
    assert found[latency, "toy", "predict", "REST"] == 1
    assert found[latency, "toy", "", "REST"] == 1
    assert found[runtime, "toy", "Predict", "TF1"] == 4
    # Four requests and the warmup request.
    runs = found[(f"{CORE}graph_runs",)]
    assert runs == found[(f"{CORE}graph_run_time_usecs_histogram_count",)] == 5
    assert found[(f"{CORE}graph_run_time_usecs",)] > 0
    assert found[(f"{CORE}graph_run_input_tensor_bytes_sum",)] == 5 * IMAGE.nbytes
    assert found[(f"{CORE}graph_build_calls",)] == 1
    check_histogram(text, f"{SERVING}request_latency", "toy", "Predict", "GRPC")
    check_histogram(text, f"{SERVING}runtime_latency", "toy", "Predict", "TF1")
    process.popen.terminate()
    assert f", metrics on http://{rest}{PATH}\n" in process.finish()[1]


def check_histogram(text: str, name: str, *labels: str) -> None:
    """Check that buckets grow up to the count, and that the sum fits the buckets."""
    found = samples(text)
    bounds = [
        (float(key[-1]), n) for key, n in found.items() if key[:-1] == (f"{name}_bucket", *labels)
    ]
    assert bounds == sorted(bounds)
    assert [n for _, n in bounds] == sorted(n for _, n in bounds)
    assert len(bounds) == 34
    count, total = found[f"{name}_count", *labels], found[f"{name}_sum", *labels]
    assert bounds[-1] == (float("inf"), count)
    highest = next(bound for bound, n in bounds if n == count)
    assert 0 < total <= highest * count


def test_batches(start: Start, base_path: Path, config: Path, tmp_path: Path) -> None:
    parameters = tmp_path / "batching.config"
    parameters.write_text("thread_pool_name { value: 'few' } allowed_batch_sizes: [2, 1000]")
    process = start(
        *("--model_name=toy", f"--model_base_path={base_path}", "--port=0"),
        *("--rest_api_port=auto", f"--monitoring_config_file={config}", "--enable_batching"),
        f"--batching_parameters_file={parameters}",
    )
    body = {"instances": IMAGE.tolist()}
    assert ask(process.address()["rest"], "/v1/models/toy:predict", body)[0] == 200
    found, session = totals(scrape(process)), f"{SERVING}batching_session:"
    assert found[f"{session}queuing_latency_count", "few"] == 1
    assert found[(f"{session}input_batch_size_sum",)] == 1
    assert found[(f"{session}processed_batch_size_sum",)] == 2
    assert found[f"{session}padding_size_sum", "2"] == 1
    assert found[(f"{CORE}graph_runs",)] == 2  # the warmup, and one batch


def test_timeouts_are_counted(start: Start, base_path: Path, config: Path, tmp_path: Path) -> None:
    process = start(
        *("--model_name=toy", f"--model_base_path={base_path}", "--port=0"),
        *("--rest_api_port=auto", f"--monitoring_config_file={config}"),
        *("--rest_api_timeout_in_ms=200", "--enable_model_warmup=false"),
        module="tests.integration.model_server.slow_server",
    )
    body = {"instances": IMAGE.tolist()}
    assert ask(process.address()["rest"], "/v1/models/toy:predict", body)[0] == 504
    (process.address_file.parent / "proceed").touch()
    late = (COUNT, "toy", "DEADLINE_EXCEEDED")
    until(lambda: late in totals(scrape(process)), what="it is counted")
    assert not any(key[0] == f"{SERVING}request_latency_count" for key in totals(scrape(process)))


def test_off_by_default(start: Start, base_path: Path) -> None:
    process = start(f"--model_base_path={base_path}", "--port=0", "--rest_api_port=auto")
    assert ask(process.address()["rest"], PATH)[0] == 404
    process.popen.terminate()
    assert "metrics" not in process.finish()[1]
