"""Helm on charts, as a program: reads a list of requests as JSON, and prints the list of their results.

It runs in an environment with the package helm-python-sdk, which contains Helm's own library. Requests are
{"render": CHART, "values": {…}, "name": RELEASE, "namespace": …}, {"lint": CHART, "values": {…}} and
{"package": CHART, "to": FOLDER}.
"""

import json
import sys
from typing import Any

import helm_python


def result(request: dict[str, Any]) -> Any:
    """Rendered files by path, findings of the linter, or the path of the package; or {"error": …}."""
    try:
        if "lint" in request:
            return helm_python.lint(request["lint"], request.get("values"), strict=True)
        if "package" in request:
            return helm_python.package(request["package"], destination=request["to"])
        with helm_python.Chart.load(request["render"]) as chart:
            names = {key: request.get(key, "rockstartf") for key in ("name", "namespace")}
            return chart.render(request.get("values", {}), **names)
    except helm_python.HelmError as error:
        return {"error": str(error)}


if __name__ == "__main__":
    json.dump([result(request) for request in json.load(sys.stdin)], sys.stdout)
