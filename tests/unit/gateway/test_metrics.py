"""/metrics, read by Prometheus' own parser, and drift."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from rockstar_serving.gateway.metrics import LEAST_EXAMPLES, Drift, population_stability
from tests.contracts import make_contract
from tests.unit.gateway.conftest import post

MONITORING = Path(__file__).parents[3] / "monitoring"


def scrape(http):
    response = http.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(http, name, **labels):
    return scrape(http).get((name, tuple(sorted(labels.items()))), 0)


def test_requests_are_counted_by_model_version_route_and_status(http):
    post(http)
    post(http)
    post(http, data=b"nothing")
    post(http, "/predict/anything")
    http.get("/nowhere")
    route = "/predict/<model>"
    counted = "rockstar_requests_total"
    assert value(http, counted, model="toy", version="1", route=route, status="200") == 2
    assert value(http, counted, model="toy", version="", route=route, status="400") == 1
    assert value(http, counted, model="other", version="", route=route, status="404") == 1
    assert value(http, counted, model="", version="", route="other", status="404") == 1


def test_latency_is_split(http):
    post(http)
    for phase in ("preprocess", "upstream", "postprocess"):
        count = value(http, "rockstar_phase_seconds_count", model="toy", phase=phase)
        assert count >= 1, phase
    assert value(http, "rockstar_request_seconds_count", model="toy", route="/predict/<model>") == 1


def test_batches_and_responses(http):
    values = [[[0.9] * 8] * 8] * 5
    http.post("/predict/toy", json={"instances": values})
    assert value(http, "rockstar_batch_rows_sum", model="toy") == 5
    assert value(http, "rockstar_predictions_total", model="toy", version="1", label="zero") == 5


def test_drift_needs_enough_examples(http):
    labels = {"model": "toy", "version": "1"}
    for _ in range(12):
        assert value(http, "rockstar_input_drift", **labels) == 0
        http.post("/predict/toy", json={"instances": [[[0.95] * 8] * 8] * 8})
    for _ in range(3):
        http.post("/predict/toy", json={"instances": [[[0.95] * 8] * 8] * 8})
    assert value(http, "rockstar_input_drift", **labels) > 0.25
    assert value(http, "rockstar_label_drift", **labels) > 0.25


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
def test_the_scraper_chooses_the_format(http, accept):
    assert http.get("/metrics", headers={"Accept": accept}).mimetype == accept


@pytest.mark.parametrize("name", ["dashboard.json", "alerts.yaml"])
def test_dashboards_and_alerts_name_metrics_that_exist(http, name):
    post(http)
    known = {family.name for family in text_string_to_metric_families(http.get("/metrics").text)}
    text = (MONITORING / name).read_text()
    if name.endswith(".json"):
        json.loads(text)
    used = {
        re.sub(r"_(total|sum|count|bucket)$", "", metric)
        for metric in re.findall(r"rockstar_\w+", text)
    }
    assert used
    assert used <= known


def test_a_gateway_that_never_got_a_response_reports_an_outage():
    """A missing series is not 0: `== 0` would match none."""
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules if "== 0" in rule["expr"]] == []


def batch(low: float, high: float, examples: int = LEAST_EXAMPLES) -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    values: NDArray[np.float32] = generator.uniform(low, high, (examples, 8, 8, 1)).astype(
        np.float32
    )
    return values


def outputs(label: int | None, examples: int = LEAST_EXAMPLES) -> NDArray[np.float32]:
    chosen = np.arange(examples) % 4 if label is None else np.full(examples, label)
    rows: NDArray[np.float32] = np.eye(4, dtype=np.float32)[chosen]
    return rows


def test_the_index_is_that_of_its_definition() -> None:
    # 0.2 ln 2 for the bin that doubled, 0.2 ln (4/3) for the one that shrank.
    expected = 0.2 * np.log(2) + 0.2 * np.log(0.8 / 0.6)
    assert population_stability(np.array([0.2, 0.8]), np.array([40, 60])) == pytest.approx(expected)
    assert population_stability(np.array([0.5, 0.5]), np.array([7, 7])) == 0
    assert np.isfinite(population_stability(np.array([0.0, 1.0]), np.array([10, 0])))


def test_similar_data_does_not_drift() -> None:
    indices = Drift(make_contract()).observe(batch(0, 1), outputs(None))
    assert indices == pytest.approx([0, 0], abs=0.01)


def test_examples_that_come_one_by_one_are_all_counted() -> None:
    count = 2 * LEAST_EXAMPLES
    values, answers = batch(0.3, 1, count), outputs(None, count)
    together = Drift(make_contract()).observe(values, answers)
    drift = Drift(make_contract())
    told = [drift.observe(values[i : i + 1], answers[i : i + 1]) for i in range(count)]
    assert told[-1] == together
    assert 1 <= sum(map(bool, told)) < count


def test_old_examples_are_forgotten() -> None:
    drift = Drift(make_contract())
    for _ in range(10):
        drift.observe(batch(0.8, 1), outputs(2))
    for _ in range(20):
        indices = drift.observe(batch(0, 1), outputs(None))
    assert indices[0] == pytest.approx(0, abs=0.01)


def test_values_beyond_the_range_count_at_its_ends() -> None:
    indices = Drift(make_contract()).observe(batch(5, 6), outputs(None))
    assert indices[0] > 1
