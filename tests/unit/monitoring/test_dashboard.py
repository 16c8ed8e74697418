"""The dashboard: queries that Prometheus can read, of metrics that exist."""

import json
import re

import pytest
import yaml

from rockstar_serving.model_server.monitoring import Monitoring, exposition
from tests.manifests import ROOT
from tests.promtool import promtool

DASHBOARD = ROOT / "monitoring" / "dashboard.json"
PANELS = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if "targets" in panel]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_prometheus_reads_every_query(tmp_path):
    queries = [re.sub(r"\$__rate_interval", "5m", each) for each in QUERIES]
    rules = [{"record": f"query_{n}", "expr": each} for n, each in enumerate(queries)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_of_the_chosen_namespaces(query):
    selectors = re.findall(r"\{[^}]*\}", query)
    assert selectors
    assert all('namespace=~"$namespace"' in each for each in selectors)


def test_metrics_of_the_model_server_exist():
    monitoring = Monitoring()
    monitoring.batching("threads")
    known = set(
        re.findall(r"^# TYPE (\S+)", exposition(monitoring.registry).decode(), re.MULTILINE)
    )
    used = {
        re.sub(r"_bucket$", "", each)
        for each in re.findall(r":tensorflow:[\w:]+", " ".join(QUERIES))
    }
    assert used
    assert used <= known
