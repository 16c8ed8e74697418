"""Helm on charts, as a program: reads a list of requests as JSON, and prints the list of their results.

It runs in an environment with the package helm-python-sdk, which contains Helm's own library. Requests are
{"render": CHART, "values": {…}, "name": RELEASE, "namespace": …}, {"lint": CHART, "values": {…}},
{"package": CHART, "to": FOLDER}, {"push": PACKAGE, "to": "oci://…"}, {"pull": "oci://…", "version": …, "to": FOLDER},
and {"install": CHART}, which installs nothing (--dry-run=client).
"""

import json
import sys
from typing import Any

import helm_python

_NO_CLUSTER = """
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
current-context: none
"""


def result(request: dict[str, Any]) -> Any:
    """Rendered files by path, findings of the linter, the path of the package, a release, …; or {"error": …}."""
    try:
        if "lint" in request:
            return helm_python.lint(request["lint"], request.get("values"), strict=True)
        if "package" in request:
            return helm_python.package(request["package"], destination=request["to"])
        if "push" in request:
            return helm_python.push(request["push"], request["to"], plain_http=True)
        if "pull" in request:
            version, folder = request["version"], request["to"]
            return helm_python.pull(
                request["pull"], version=version, destination=folder, plain_http=True
            )
        if "install" in request:
            with helm_python.Config(
                kubeconfig_content=_NO_CLUSTER, storage_driver="memory"
            ) as helm:
                return helm.install(request["install"], "rockstartf", {}, dry_run="client")
        with helm_python.Chart.load(request["render"]) as chart:
            names = {key: request.get(key, "rockstartf") for key in ("name", "namespace")}
            return chart.render(request.get("values", {}), **names)
    except helm_python.HelmError as error:
        return {"error": str(error)}


if __name__ == "__main__":
    json.dump([result(request) for request in json.load(sys.stdin)], sys.stdout)
