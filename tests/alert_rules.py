"""monitoring/alerts.yaml as a PrometheusRule: `python -m tests.alert_rules` writes it.

Prometheus takes no Kubernetes resource, and kustomize cannot make a resource's field from a file.
"""

import textwrap

from tests.manifests import K8S, ROOT

ALERTS = ROOT / "monitoring" / "alerts.yaml"
RULE = K8S / "components" / "monitoring" / "alerts.yaml"
_HEAD = """\
# Written by python -m tests.alert_rules from monitoring/alerts.yaml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: rockstartf
  namespace: rockstartf
  labels:
    app.kubernetes.io/part-of: rockstartf
spec:
"""


def prometheus_rule() -> str:
    """The manifest with the rules, without the file's comments."""
    rules = ALERTS.read_text()
    return _HEAD + textwrap.indent(rules[rules.index("groups:") :], "  ")


if __name__ == "__main__":
    RULE.write_text(prometheus_rule())
