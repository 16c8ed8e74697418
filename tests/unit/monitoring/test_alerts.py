"""Alerts fire for the namespace in trouble, and only for that: promtool's unit tests of rules."""

import pytest
import yaml

from tests.alert_rules import ALERTS, RULE, prometheus_rule
from tests.promtool import promtool

RULES = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
# What Prometheus scrapes each minute of an hour in two namespaces, in promtool's notation: A+BxN grows by B.
TWO_NAMESPACES = {
    "GatewayDown": {
        'up{job="rockstar-gateway",namespace="bad",pod="1"}': "0x60",
        'up{job="rockstar-gateway",namespace="good",pod="1"}': "0x60",
        'up{job="rockstar-gateway",namespace="good",pod="2"}': "1x60",
    },
    "NoGatewayReady": {
        'rockstar_requests_total{route="/readyz",status="503",namespace="bad"}': "0+12x60",
        'rockstar_requests_total{route="/readyz",status="503",namespace="good"}': "0+12x60",
        'rockstar_requests_total{route="/readyz",status="200",namespace="good"}': "0+12x60",
    },
    "ModelServerUnreachable": {
        'rockstar_upstream_seconds_count{code="UNAVAILABLE",namespace="bad"}': "0+9x60",
        'rockstar_upstream_seconds_count{code="UNAVAILABLE",namespace="good"}': "0+9x60",
        'rockstar_upstream_seconds_count{code="OK",namespace="good"}': "0+9x60",
    },
    # Two of five predictions get 503. Readiness probes with 503 are no failed predictions.
    "ServerErrors": {
        'rockstar_requests_total{model="cnn",status="503",namespace="bad"}': "0+40x60",
        'rockstar_requests_total{model="cnn",status="200",namespace="bad"}': "0+60x60",
        'rockstar_requests_total{model="cnn",status="200",namespace="good"}': "0+60x60",
        'rockstar_requests_total{model="",status="503",namespace="good"}': "0+60x60",
    },
    "SlowAnswers": {
        'rockstar_request_seconds_bucket{model="cnn",le="1",namespace="bad"}': "0+90x60",
        'rockstar_request_seconds_bucket{model="cnn",le="5",namespace="bad"}': "0+100x60",
        'rockstar_request_seconds_bucket{model="cnn",le="+Inf",namespace="bad"}': "0+100x60",
        'rockstar_request_seconds_bucket{model="cnn",le="1",namespace="good"}': "0+100x60",
        'rockstar_request_seconds_bucket{model="cnn",le="5",namespace="good"}': "0+100x60",
        'rockstar_request_seconds_bucket{model="cnn",le="+Inf",namespace="good"}': "0+100x60",
    },
    "RequestsRefused": {
        'rockstar_refused_total{reason="queue",namespace="bad"}': "0+5x60",
        'rockstar_refused_total{reason="queue",namespace="good"}': "7x60",
        'rockstar_refused_total{reason="rate",namespace="good"}': "0+5x60",
    },
    "InputDrift": {
        'rockstar_input_drift{model="cnn",version="2",namespace="bad"}': "0.3x60",
        'rockstar_input_drift{model="cnn",version="2",namespace="good"}': "0.2x60",
    },
    "LabelDrift": {
        'rockstar_label_drift{model="cnn",version="2",namespace="bad"}': "0.3x60",
        'rockstar_label_drift{model="cnn",version="2",namespace="good"}': "0.2x60",
    },
    # A deployment of somebody else may be called gateway, too.
    "PodsNotReady": {
        'kube_deployment_created{deployment="model-server",namespace="bad"}': "1x60",
        'kube_deployment_created{deployment="gateway",namespace="good"}': "1x60",
        'kube_deployment_status_replicas_unavailable{deployment="gateway",namespace="bad"}': "1x60",
        'kube_deployment_status_replicas_unavailable{deployment="gateway",namespace="good"}': "1x60",
    },
    "ModelVersionFailed": {
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="/models/cnn/2",status="fail",'
        'namespace="bad"}': "0x50 1+1x4 5x5",
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="/models/cnn/2",status="success",'
        'namespace="good"}': "1x60",
    },
}


def fires(series, query, expected, tmp_path):
    """promtool's answer to a query after an hour of these series is 1 for each set of labels."""
    test = {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": "1h",
                "exp_samples": [{"labels": labels, "value": 1} for labels in expected],
            }
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [test]}))
    promtool("test", "rules", file)


@pytest.mark.parametrize("alert", [rule["alert"] for rule in RULES])
def test_an_alert_fires_for_the_namespace_in_trouble(alert, tmp_path):
    query = f'count by (namespace) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
    fires(TWO_NAMESPACES[alert], query, ['{namespace="bad"}'], tmp_path)


def test_without_any_data_the_gateway_is_down(tmp_path):
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    fires({}, query, ['{alertname="GatewayDown"}'], tmp_path)


def test_kubernetes_has_the_same_rules():
    assert RULE.read_text() == prometheus_rule(), "run python -m tests.alert_rules"
