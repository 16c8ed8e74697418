"""What is counted under which name."""

from pathlib import Path

from serving.api.status import Code
from serving.model_server.monitoring.exposition import exposition
from serving.model_server.monitoring.metrics import (
    MAX_NAME_LENGTH,
    MAX_UNKNOWN_NAMES,
    ServerMetrics,
)
from tests.metrics import SAVED_MODEL, SERVING, totals


def values(metrics: ServerMetrics) -> dict[tuple[str, ...], float]:
    return totals(exposition(metrics.registry).decode())


def test_names_and_types_before_anything_was_counted() -> None:
    metrics = ServerMetrics()
    metrics.batching("threads")
    assert exposition(metrics.registry).decode().splitlines() == [
        f"# TYPE {SAVED_MODEL}load_attempt_count counter",
        f"# TYPE {SAVED_MODEL}load_latency counter",
        f"# TYPE {SERVING}batching_session:input_batch_size histogram",
        f"# TYPE {SERVING}batching_session:padding_size histogram",
        f"# TYPE {SERVING}batching_session:processed_batch_size histogram",
        f"# TYPE {SERVING}batching_session:queuing_latency histogram",
        f"# TYPE {SERVING}batching_session:wrapped_run_count counter",
        f"# TYPE {SERVING}model_warmup_latency histogram",
        f"# TYPE {SERVING}request_count counter",
        f"# TYPE {SERVING}request_example_count_total counter",
        f"# TYPE {SERVING}request_example_counts histogram",
        f"# TYPE {SERVING}request_latency histogram",
        f"# TYPE {SERVING}runtime_latency histogram",
    ]


def test_every_request_is_counted_and_those_answered_are_timed() -> None:
    metrics = ServerMetrics()
    metrics.request("m", "Predict", "GRPC", Code.OK, 0.25)
    metrics.request("m", "predict", "REST", Code.OK, 0.5)
    metrics.request("m", "Predict", "GRPC", Code.INVALID_ARGUMENT, 9)
    metrics.run("m", "Predict", "LiteRT", 0.125)
    assert values(metrics) == {
        (f"{SERVING}request_count", "m", "OK"): 2,
        (f"{SERVING}request_count", "m", "INVALID_ARGUMENT"): 1,
        (f"{SERVING}request_latency_sum", "m", "Predict", "GRPC"): 250_000,
        (f"{SERVING}request_latency_count", "m", "Predict", "GRPC"): 1,
        (f"{SERVING}request_latency_sum", "m", "predict", "REST"): 500_000,
        (f"{SERVING}request_latency_count", "m", "predict", "REST"): 1,
        (f"{SERVING}runtime_latency_sum", "m", "Predict", "LiteRT"): 125_000,
        (f"{SERVING}runtime_latency_count", "m", "Predict", "LiteRT"): 1,
    }
    text = exposition(metrics.registry).decode()
    latency = f"{SERVING}request_latency_bucket"
    assert f'{latency}{{model_name="m",API="Predict",entrypoint="GRPC",le="+Inf"}} 1\n' in text


def test_examples_loads_and_warmups() -> None:
    metrics = ServerMetrics()
    metrics.examples("m", 3)
    metrics.examples("m", 4)
    folder = Path("/models/m/1")
    metrics.load(folder, loaded=True, seconds=0.5)
    metrics.load(folder, loaded=False, seconds=0.25)
    metrics.warmup(folder, Code.OK, 0.125)
    metrics.warmup(folder, Code.DATA_LOSS, 0.125)
    assert values(metrics) == {
        (f"{SERVING}request_example_counts_sum", "m"): 7,
        (f"{SERVING}request_example_counts_count", "m"): 2,
        (f"{SERVING}request_example_count_total", "m"): 7,
        (f"{SAVED_MODEL}load_attempt_count", "/models/m/1", "success"): 1,
        (f"{SAVED_MODEL}load_attempt_count", "/models/m/1", "fail"): 1,
        (f"{SAVED_MODEL}load_latency", "/models/m/1"): 500_000,
        (f"{SERVING}model_warmup_latency_sum", "/models/m/1", "OK"): 125_000,
        (f"{SERVING}model_warmup_latency_count", "/models/m/1", "OK"): 1,
        (f"{SERVING}model_warmup_latency_sum", "/models/m/1", "DATA_LOSS"): 125_000,
        (f"{SERVING}model_warmup_latency_count", "/models/m/1", "DATA_LOSS"): 1,
    }


def test_names_of_models_that_there_are_not_cannot_fill_the_memory() -> None:
    metrics = ServerMetrics()
    metrics.request("m", "Predict", "GRPC", Code.OK, 0)
    metrics.request("x" * (MAX_NAME_LENGTH + 1), "Predict", "GRPC", Code.NOT_FOUND, 0)
    for number in range(MAX_UNKNOWN_NAMES + 5):
        metrics.request(f"none-{number}", "Predict", "GRPC", Code.NOT_FOUND, 0)
    metrics.request("m", "Predict", "GRPC", Code.NOT_FOUND, 0)
    counts = values(metrics)
    count = f"{SERVING}request_count"
    assert counts[count, "none-0", "NOT_FOUND"] == 1
    assert counts[count, "", "NOT_FOUND"] == 6
    # What is served keeps its name.
    assert counts[count, "m", "NOT_FOUND"] == 1
    assert sum(key[0] == count for key in counts) == MAX_UNKNOWN_NAMES + 3


def test_batches() -> None:
    metrics = ServerMetrics()
    batching = metrics.batching("batch_threads")
    for rows in (1, 4):
        batching.input_batch_size(rows)
        batching.queuing_latency(1500.5)
    batching.padding_size(3, 8)
    batching.processed_batch_size(8)
    session = f"{SERVING}batching_session:"
    assert values(metrics) == {
        (f"{session}input_batch_size_sum",): 5,
        (f"{session}input_batch_size_count",): 2,
        (f"{session}queuing_latency_sum", "batch_threads"): 3000,
        (f"{session}queuing_latency_count", "batch_threads"): 2,
        (f"{session}processed_batch_size_sum",): 8,
        (f"{session}processed_batch_size_count",): 1,
        (f"{session}padding_size_sum", "8"): 3,
        (f"{session}padding_size_count", "8"): 1,
        (f"{session}wrapped_run_count",): 1,
    }
    text = exposition(metrics.registry).decode()
    # As in TensorFlow, a bucket ends before its bound.
    assert f'{session}processed_batch_size_bucket{{le="8"}} 0\n' in text
    assert f'{session}processed_batch_size_bucket{{le="16"}} 1\n' in text
