"""What is counted under which name."""

from pathlib import Path

from rockstar_serving.model_server.monitoring.exposition import exposition
from rockstar_serving.model_server.monitoring.metrics import (
    MAX_NAME_LENGTH,
    MAX_UNKNOWN_NAMES,
    ServerMetrics,
)
from tests.metrics import CORE, SAVED_MODEL, SERVING, totals
from tfs_api.status import Code


def values(metrics: ServerMetrics) -> dict[tuple[str, ...], float]:
    return totals(exposition(metrics.registry).decode())


def test_names_and_types_before_anything_was_counted() -> None:
    metrics = ServerMetrics()
    metrics.batching("threads")
    assert exposition(metrics.registry).decode().splitlines() == [
        f"# TYPE {SAVED_MODEL}load_attempt_count counter",
        f"# TYPE {SAVED_MODEL}load_latency counter",
        f"# TYPE {CORE}direct_session_runs counter",
        f"# TYPE {CORE}graph_build_calls counter",
        f"# TYPE {CORE}graph_build_time_usecs counter",
        f"# TYPE {CORE}graph_optimization_usecs counter",
        f"# TYPE {CORE}graph_pending_queue_length_histogram histogram",
        f"# TYPE {CORE}graph_run_input_tensor_bytes histogram",
        f"# TYPE {CORE}graph_run_output_tensor_bytes histogram",
        f"# TYPE {CORE}graph_run_time_usecs counter",
        f"# TYPE {CORE}graph_run_time_usecs_histogram histogram",
        f"# TYPE {CORE}graph_runs counter",
        f"# TYPE {SERVING}batching_session:input_batch_size histogram",
        f"# TYPE {SERVING}batching_session:padding_size histogram",
        f"# TYPE {SERVING}batching_session:processed_batch_size histogram",
        f"# TYPE {SERVING}batching_session:queuing_latency histogram",
        f"# TYPE {SERVING}batching_session:wrapped_run_count counter",
        f"# TYPE {SERVING}model_warmup_latency histogram",
        f"# TYPE {SERVING}model_warmup_records_read counter",
        f"# TYPE {SERVING}request_count counter",
        f"# TYPE {SERVING}request_example_count_total counter",
        f"# TYPE {SERVING}request_example_counts histogram",
        f"# TYPE {SERVING}request_latency histogram",
        f"# TYPE {SERVING}request_log_count counter",
        f"# TYPE {SERVING}runtime_latency histogram",
    ]


def test_every_request_is_counted_and_those_answered_are_timed() -> None:
    metrics = ServerMetrics()
    metrics.request("m", "Predict", "GRPC", Code.OK, 0.25)
    metrics.request("m", "predict", "REST", Code.OK, 0.5)
    metrics.request("m", "Predict", "GRPC", Code.INVALID_ARGUMENT, 9)
    metrics.run("m", "Predict", 0.125)
    assert values(metrics) == {
        (f"{SERVING}request_count", "m", "OK"): 2,
        (f"{SERVING}request_count", "m", "INVALID_ARGUMENT"): 1,
        (f"{SERVING}request_latency_sum", "m", "Predict", "GRPC"): 250_000,
        (f"{SERVING}request_latency_count", "m", "Predict", "GRPC"): 1,
        (f"{SERVING}request_latency_sum", "m", "predict", "REST"): 500_000,
        (f"{SERVING}request_latency_count", "m", "predict", "REST"): 1,
        (f"{SERVING}runtime_latency_sum", "m", "Predict", "TF1"): 125_000,
        (f"{SERVING}runtime_latency_count", "m", "Predict", "TF1"): 1,
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
    metrics.warmup(folder, Code.OK, 0.125, 7)
    metrics.warmup(folder, Code.DATA_LOSS, 0.125, 2)
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
        (f"{SERVING}model_warmup_records_read", "/models/m/1", "OK"): 7,
        (f"{SERVING}model_warmup_records_read", "/models/m/1", "DATA_LOSS"): 2,
        (f"{CORE}graph_build_calls",): 1,
        (f"{CORE}graph_build_time_usecs",): 500_000,
    }


def test_runs_of_graphs() -> None:
    metrics = ServerMetrics()
    metrics.graph_run(0.001, 16, 4)
    metrics.graph_run(0.5, 64, 0)
    assert values(metrics) == {
        (f"{CORE}graph_runs",): 2,
        (f"{CORE}direct_session_runs",): 2,
        (f"{CORE}graph_run_time_usecs",): 501_000,
        (f"{CORE}graph_run_time_usecs_histogram_sum",): 501_000,
        (f"{CORE}graph_run_time_usecs_histogram_count",): 2,
        (f"{CORE}graph_run_input_tensor_bytes_sum",): 80,
        (f"{CORE}graph_run_input_tensor_bytes_count",): 2,
        (f"{CORE}graph_run_output_tensor_bytes_sum",): 4,
        (f"{CORE}graph_run_output_tensor_bytes_count",): 2,
    }
    # The lines that TensorFlow Serving writes, of which dashboards take percentiles.
    lines = exposition(metrics.registry).decode().splitlines()
    assert f"{CORE}graph_runs{{}} 2" in lines
    name = f"{CORE}graph_run_time_usecs_histogram_bucket"
    assert [line for line in lines if line.startswith(name)] == [
        f'{name}{{le="{bound}"}} {count}'
        for bound, count in zip(
            [
                *("1000", "2000", "4000", "8000", "16000", "32000", "64000", "128000", "256000"),
                *("512000", "1.024e+06", "2.048e+06", "4.096e+06", "8.192e+06", "1.6384e+07"),
                *("3.2768e+07", "6.5536e+07", "1.31072e+08", "2.62144e+08", "5.24288e+08", "+Inf"),
            ],
            [0] + [1] * 8 + [2] * 12,
            strict=True,
        )
    ]
    name = f"{CORE}graph_run_input_tensor_bytes_bucket"
    assert sum(line.startswith(name) for line in lines) == 15
    assert f'{name}{{le="6.71089e+07"}} 2' in lines


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
    batching.processed_batch_size(8, 3)
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
