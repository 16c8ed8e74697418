"""The metrics: names, values and text, and the reported events."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from rockstar_contract.manifest import write_manifest
from rockstar_serving.model_server.core import Core
from rockstar_serving.model_server.engines.engine import (
    Loader,
    LoadError,
    Runtime,
    ServableId,
)
from rockstar_serving.model_server.examples import ExamplesQuery, MultiInferenceQuery
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.models.config import ConfigError, ModelConfig
from rockstar_serving.model_server.monitoring import (
    MAX_NAME_LENGTH,
    MAX_UNKNOWN_NAMES,
    Counter,
    Monitoring,
    Sampler,
    exponential,
    exposition,
    read_monitoring_config,
)
from rockstar_serving.model_server.options import RestOptions, ServerOptions
from rockstar_serving.model_server.rest import RestApi
from tests.examples_engine import example, inference_task, load_examples_engine
from tests.fake_engine import FakeLoader, add_version, running
from tests.metrics import CORE, SAVED_MODEL, SERVING, totals
from tests.rest_client import RestClient
from tests.warmup_files import predict_log, write_records
from tfs_api.model_ref import ModelRef
from tfs_api.signature import CLASSIFY_METHOD
from tfs_api.status import Code, StatusError

RUNTIME, LOADS = f"{SERVING}runtime_latency_count", f"{SAVED_MODEL}load_attempt_count"


def values(metrics: Monitoring) -> dict[tuple[str, ...], float]:
    return totals(exposition(metrics.registry).decode())


def counts(metrics: Monitoring) -> dict[tuple[str, ...], float]:
    """The values that are not times."""
    return {key: value for key, value in values(metrics).items() if not key[0].endswith("_sum")}


def histogram(name: str, total: float, count: int, *labels: str) -> dict[tuple[str, ...], float]:
    return {(f"{name}_sum", *labels): total, (f"{name}_count", *labels): count}


def test_names_and_types_before_anything_was_counted() -> None:
    metrics = Monitoring()
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


def test_every_request_is_counted_and_successful_ones_are_timed() -> None:
    metrics = Monitoring()
    metrics.request("m", "Predict", "GRPC", Code.OK, 0.25)
    metrics.request("m", "predict", "REST", Code.OK, 0.5)
    metrics.request("m", "Predict", "GRPC", Code.INVALID_ARGUMENT, 9)
    metrics.run("m", "Predict", 0.125)
    metrics.load(Path("/models/m/1"), loaded=True, seconds=0.5)
    metrics.warmup(Path("/models/m/1"), Code.DATA_LOSS, 0.125, 2)
    assert values(metrics) == {
        (f"{SERVING}request_count", "m", "OK"): 2,
        (f"{SERVING}request_count", "m", "INVALID_ARGUMENT"): 1,
        **histogram(f"{SERVING}request_latency", 250_000, 1, "m", "Predict", "GRPC"),
        **histogram(f"{SERVING}request_latency", 500_000, 1, "m", "predict", "REST"),
        **histogram(f"{SERVING}runtime_latency", 125_000, 1, "m", "Predict", "TF1"),
        (LOADS, "/models/m/1", "success"): 1,
        (f"{SAVED_MODEL}load_latency", "/models/m/1"): 500_000,
        **histogram(f"{SERVING}model_warmup_latency", 125_000, 1, "/models/m/1", "DATA_LOSS"),
        (f"{SERVING}model_warmup_records_read", "/models/m/1", "DATA_LOSS"): 2,
        (f"{CORE}graph_build_calls",): 1,
        (f"{CORE}graph_build_time_usecs",): 500_000,
    }
    text = exposition(metrics.registry).decode()
    latency = f"{SERVING}request_latency_bucket"
    assert f'{latency}{{model_name="m",API="Predict",entrypoint="GRPC",le="+Inf"}} 1\n' in text


def test_runs_of_graphs() -> None:
    metrics = Monitoring()
    x, y = np.zeros(4, np.float32), np.zeros(1, np.float32)
    metrics.graph_run(0.001, {"x": x}, {"y": y})
    metrics.graph_run(0.5, {f"x{i}": x for i in range(4)}, {})
    assert values(metrics) == {
        (f"{CORE}graph_runs",): 2,
        (f"{CORE}direct_session_runs",): 2,
        (f"{CORE}graph_run_time_usecs",): 501_000,
        **histogram(f"{CORE}graph_run_time_usecs_histogram", 501_000, 2),
        **histogram(f"{CORE}graph_run_input_tensor_bytes", 80, 2),
        **histogram(f"{CORE}graph_run_output_tensor_bytes", 4, 2),
    }
    # TensorFlow Serving's lines, from which dashboards compute percentiles.
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
    metrics = Monitoring()
    metrics.request("m", "Predict", "GRPC", Code.OK, 0)
    metrics.request("x" * (MAX_NAME_LENGTH + 1), "Predict", "GRPC", Code.NOT_FOUND, 0)
    for number in range(MAX_UNKNOWN_NAMES + 5):
        metrics.request(f"none-{number}", "Predict", "GRPC", Code.NOT_FOUND, 0)
    metrics.request("m", "Predict", "GRPC", Code.NOT_FOUND, 0)
    counts = values(metrics)
    count = f"{SERVING}request_count"
    assert counts[count, "none-0", "NOT_FOUND"] == 1
    assert counts[count, "", "NOT_FOUND"] == 6
    # Served versions keep their names.
    assert counts[count, "m", "NOT_FOUND"] == 1
    assert sum(key[0] == count for key in counts) == MAX_UNKNOWN_NAMES + 3


PATH = "/monitoring/prometheus/metrics"
COUNT, LATENCY = f"{SERVING}request_count", f"{SERVING}request_latency_count"


@pytest.fixture
def monitoring() -> Monitoring:
    return Monitoring(PATH)


@pytest.fixture
def core(tmp_path: Path, monitoring: Monitoring) -> Iterator[Core]:
    add_version(tmp_path, 1)
    with running(ModelConfig("m", tmp_path)) as manager:
        yield Core(manager, observer=monitoring)


@pytest.fixture
def client(core: Core, monitoring: Monitoring) -> RestClient:
    return RestClient(RestApi(core, RestOptions(timeout_seconds=10), monitoring))


def post(path: str, body: Any) -> Callable[[RestClient], Any]:
    return lambda client: client.post(f"/v1/models/{path}", json=body)


def get(path: str) -> Callable[[RestClient], Any]:
    return lambda client: client.get(path)


@pytest.mark.parametrize(
    ("ask", "counted"),
    [
        (
            post("m:predict", {"instances": [[1, 2]]}),
            {
                (COUNT, "m", "OK"): 1,
                (LATENCY, "m", "predict", "REST"): 1,
                (RUNTIME, "m", "Predict", "TF1"): 1,
            },
        ),
        (
            post("m/versions/1:predict?x=1", {"instances": [1]}),
            {(COUNT, "", "INVALID_ARGUMENT"): 1},
        ),
        (post("m:predict", {"instances": ["one"]}), {(COUNT, "m", "INVALID_ARGUMENT"): 1}),
        (post("m/versions/7:predict", {"instances": [1]}), {(COUNT, "m", "NOT_FOUND"): 1}),
        (post("none:predict", {"instances": [1]}), {(COUNT, "none", "NOT_FOUND"): 1}),
        (
            post("m:predict", {"signature_name": "fail", "instances": [1]}),
            {(COUNT, "m", "INTERNAL"): 1},
        ),
        (get("/v1/models/m"), {(COUNT, "m", "OK"): 1, (LATENCY, "m", "", "REST"): 1}),
        (
            get("/v1/models/m/versions/1/metadata"),
            {(COUNT, "m", "OK"): 1, (LATENCY, "m", "", "REST"): 1},
        ),
        (get("/v1/models"), {(COUNT, "", "INVALID_ARGUMENT"): 1}),
        (get("/v1/else"), {(COUNT, "", "INVALID_ARGUMENT"): 1}),
        (get("/else"), {}),
        (lambda client: client.options("/v1/models/m"), {(COUNT, "", "FAILED_PRECONDITION"): 1}),
        (
            lambda client: client.options("/v1/models/m", origin="https://page"),
            {(COUNT, "", "OK"): 1, (LATENCY, "", "", "REST"): 1},
        ),
        (get(PATH), {}),
    ],
)
def test_what_is_counted(client, monitoring, ask, counted):
    ask(client)
    assert counts(monitoring) == counted


def test_requests_past_their_deadline_count_as_failed(client, monitoring):
    now = time.monotonic()
    client.get("/v1/models/m", received_at=now - 11)
    client.get("/v1/models/m", received_at=now)
    assert counts(monitoring) == {
        (COUNT, "m", "DEADLINE_EXCEEDED"): 1,
        (COUNT, "m", "OK"): 1,
        (LATENCY, "m", "", "REST"): 1,
    }


def test_a_path_that_is_not_ascii(core: Core) -> None:
    client = RestClient(RestApi(core, monitoring=Monitoring("/zählwerk")))
    for path in ("/zählwerk", "/z%C3%A4hlwerk"):
        assert client.get(path).status_code == 200


def test_the_page(client: RestClient) -> None:
    response = client.get(PATH)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain"
    assert response.text.startswith("# TYPE :tensorflow:")
    response = client.get(f"{PATH}?x=1")
    assert response.status_code == 400
    assert response.text == f"Unexpected path: {PATH}?x=1. Should be {PATH}"
    assert client.get(f"{PATH}/").status_code == 404


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true, path: "/metrics" }', "/metrics"),
        ('prometheus_config: { enable: true path: "/v1/metrics" }', "/v1/metrics"),
        ('prometheus_config { path: "/metrics" }', None),
        ("prometheus_config { enable: false }", None),
        ("", None),
    ],
)
def test_where_metrics_are_served(tmp_path: Path, text: str, path: str | None) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    assert read_monitoring_config(file).path == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('prometheus_config { enable: true, path: "metrics" }', "begins with '/'.*'metrics'"),
        ('prometheus_config { enable: true, path: "/V1/models/m" }', "not with /v1/models, where"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_monitoring_config(file)
    assert str(caught.value).startswith(f"monitoring config file {file}: ")


# The output of TensorFlow Serving's exporter in its test.
HISTOGRAM = """\
# TYPE :test:path:histogram histogram
:test:path:histogram_bucket{status="good",le="1"} 0
:test:path:histogram_bucket{status="good",le="2"} 0
:test:path:histogram_bucket{status="good",le="4"} 1
:test:path:histogram_bucket{status="good",le="8"} 1
:test:path:histogram_bucket{status="good",le="16"} 1
:test:path:histogram_bucket{status="good",le="32"} 2
:test:path:histogram_bucket{status="good",le="64"} 2
:test:path:histogram_bucket{status="good",le="128"} 2
:test:path:histogram_bucket{status="good",le="256"} 3
:test:path:histogram_bucket{status="good",le="512"} 3
:test:path:histogram_bucket{status="good",le="+Inf"} 3
:test:path:histogram_sum{status="good"} 222
:test:path:histogram_count{status="good"} 3
"""


def counter(registry: CollectorRegistry, name: str = ":test:path:total") -> Counter:
    return Counter(registry, name, "name", "API")


def test_a_histogram_is_written_as_tensorflow_serving_writes_it() -> None:
    registry = CollectorRegistry()
    sampler = Sampler(registry, ":test:path:histogram", exponential(1, 2, 10), "status")
    for value in (2, 20, 200):
        sampler.add(value, "good")
    assert exposition(registry).decode() == HISTOGRAM


def test_counters_keep_their_names_and_the_order_of_their_labels() -> None:
    registry = CollectorRegistry()
    second = counter(registry, ":test:b")
    first = counter(registry, ":test:a:count")
    second.add("y", "z", amount=5)
    first.add("y", "z")
    first.add("x", "z")
    first.add("x", "z")
    assert exposition(registry).decode() == (
        "# TYPE :test:a:count counter\n"
        ':test:a:count{name="x",API="z"} 2\n'
        ':test:a:count{name="y",API="z"} 1\n'
        "# TYPE :test:b counter\n"
        ':test:b{name="y",API="z"} 5\n'
    )


def test_bounds_are_those_that_dashboards_use() -> None:
    registry = CollectorRegistry()
    Sampler(registry, ":test:time", exponential(10, 1.8, 33)).add(708_235)
    (family,) = text_string_to_metric_families(exposition(registry).decode())
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert list(buckets)[:6] == ["10", "18", "32.4", "58.32", "104.976", "188.957"]
    assert list(buckets)[-3:] == ["8.19309e+08", "1.47476e+09", "+Inf"]
    assert len(buckets) == 34
    assert (buckets["393464"], buckets["708235"]) == (0, 1)


@given(st.text(st.characters(codec="utf-8")))
def test_any_label_value_is_read_back_and_adds_no_line(value: str) -> None:
    registry = CollectorRegistry()
    counter(registry).add(value, "")
    text = exposition(registry).decode()
    assert text.count("\n") == 2
    # prometheus_client's parser splits at every character that Python treats as a line end.
    if len(text.splitlines()) == 2:
        (family,) = text_string_to_metric_families(text)
        (sample,) = family.samples
        assert sample.labels == {"name": value, "API": ""}


def test_a_path_that_is_no_text() -> None:
    registry = CollectorRegistry()
    counter(registry).add("/models/\udcff", "")
    assert b'name="/models/?"' in exposition(registry)


def test_nothing_is_lost_between_threads() -> None:
    registry = CollectorRegistry()
    counts = counter(registry)
    sampler = Sampler(registry, ":test:times", exponential(1, 2, 3))

    def work() -> None:
        for value in range(1000):
            counts.add("x", "y")
            sampler.add(value % 5)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(work)
    text = exposition(registry).decode()
    assert ':test:path:total{name="x",API="y"} 4000\n' in text
    assert ":test:times_sum{} 8000\n" in text
    assert ':test:times_bucket{le="4"} 3200\n' in text
    assert ":test:times_count{} 4000\n" in text


def test_reports_of_each_api(tmp_path: Path) -> None:
    metrics = Monitoring()
    add_version(tmp_path, 1)
    with running(ModelConfig("m", tmp_path), load=load_examples_engine) as manager:
        core, ref, two = Core(manager, observer=metrics), ModelRef("m"), [example(x=1.0)] * 2
        core.classify(ref, ExamplesQuery(two))
        core.regress(ref, ExamplesQuery(two, "regress"))
        core.multi_inference(ref, MultiInferenceQuery([inference_task("m", CLASSIFY_METHOD)], two))
        with pytest.raises(StatusError):
            core.classify(ref, ExamplesQuery([]))
    # As in TensorFlow Serving, MultiInference counts examples only, and the others runs only.
    assert counts(metrics) == {
        (RUNTIME, "m", "Classify", "TF1"): 1,
        (RUNTIME, "m", "Regress", "TF1"): 1,
        (f"{SERVING}request_example_counts_count", "m"): 1,
        (f"{SERVING}request_example_count_total", "m"): 2,
    }


def runtime(load: Loader) -> Runtime:
    """An installed runtime that loads version folders with a loader."""
    return Runtime(
        name="fake",
        package="numpy",
        install="",
        files=("model.tflite",),
        reads=(),
        export="",
        rank=lambda _: 0,
        load=lambda folder, *_: load(ServableId("m", int(folder.name)), folder),
    )


def test_loads_and_warmups(tmp_path: Path) -> None:
    metrics = Monitoring()
    load = VersionLoader(ServerOptions(()), metrics, [runtime(FakeLoader())])
    plain, warm, wrong = (add_version(tmp_path, version) for version in (1, 2, 3))
    broken = add_version(tmp_path, 4, ok=False)
    write_records(warm, [predict_log({"x": [[1.0, 2.0]]})])
    write_records(wrong, [predict_log({"another": [[1.0, 2.0]]})])
    write_records(broken, [b"not read"])
    for folder in (plain, warm, wrong, broken):
        write_manifest(folder)
    for folder in (plain, warm):
        load(ServableId("m", int(folder.name)), folder)
    for folder in (wrong, broken):
        with pytest.raises(LoadError):
            load(ServableId("m", int(folder.name)), folder)
    found = {
        key: n for key, n in counts(metrics).items() if "load_attempt" in key[0] or "warm" in key[0]
    }
    warmups = f"{SERVING}model_warmup_latency_count"
    assert found == {
        **{(LOADS, str(folder), "success"): 1 for folder in (plain, warm, wrong)},
        (LOADS, str(broken), "fail"): 1,
        (warmups, str(warm), "OK"): 1,
        (warmups, str(wrong), "INVALID_ARGUMENT"): 1,
        (f"{SERVING}model_warmup_records_read", str(warm), "OK"): 1,
        (f"{SERVING}model_warmup_records_read", str(wrong), "INVALID_ARGUMENT"): 0,
    }
