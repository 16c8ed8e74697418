"""What /metrics tells, read by Prometheus' own parser."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.images import png, stroke

IMAGE = {"data": png(stroke()), "content_type": "image/png"}
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
    http.post("/predict/toy", **IMAGE)
    http.post("/predict/toy", **IMAGE)
    http.post("/predict/toy", data=b"nothing", content_type="image/png")
    http.post("/predict/anything", **IMAGE)
    http.get("/nowhere")
    route = "/predict/<model>"
    counted = "rockstar_requests_total"
    assert value(http, counted, model="toy", version="1", route=route, status="200") == 2
    assert value(http, counted, model="toy", version="", route=route, status="400") == 1
    assert value(http, counted, model="other", version="", route=route, status="404") == 1
    assert value(http, counted, model="", version="", route="other", status="404") == 1


def test_latency_is_split(http):
    http.post("/predict/toy", **IMAGE)
    for phase in ("preprocess", "upstream", "postprocess"):
        count = value(http, "rockstar_phase_seconds_count", model="toy", phase=phase)
        assert count >= 1, phase
    assert value(http, "rockstar_request_seconds_count", model="toy", route="/predict/<model>") == 1


def test_batches_and_answers(http):
    values = [[[0.9] * 8] * 8] * 5
    http.post("/predict/toy", json={"instances": values})
    assert value(http, "rockstar_batch_rows_sum", model="toy") == 5
    assert value(http, "rockstar_predictions_total", model="toy", version="1", label="zero") == 5


def test_drift_is_told_when_there_are_enough_examples(http):
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
    http.post("/predict/toy", **IMAGE)
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


def test_an_outage_is_seen_by_a_gateway_that_never_got_an_answer():
    """A series that is not there yet is not 0: `== 0` would be true of none."""
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules if "== 0" in rule["expr"]] == []
