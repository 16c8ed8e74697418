"""Counters and samplers, and the text that Prometheus reads."""

import threading

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from rockstar_serving.model_server.monitoring import Counter, Sampler, exponential, exposition

# What TensorFlow Serving's exporter writes of this, by its own test.
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


def test_without_labels_and_without_values() -> None:
    registry = CollectorRegistry()
    Counter(registry, ":test:empty")
    Counter(registry, ":test:runs").add()
    assert exposition(registry).decode() == (
        "# TYPE :test:empty counter\n# TYPE :test:runs counter\n:test:runs{} 1\n"
    )


def test_bounds_are_those_that_dashboards_ask_for() -> None:
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
    # The parser of prometheus_client splits at every character that Python takes for a line's end.
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

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = exposition(registry).decode()
    assert ':test:path:total{name="x",API="y"} 4000\n' in text
    assert ":test:times_sum{} 8000\n" in text
    assert ':test:times_bucket{le="4"} 3200\n' in text
    assert ":test:times_count{} 4000\n" in text
