"""`GET /metrics`: what Prometheus scrapes."""

from flask import Blueprint

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.metrics.exposition import metrics

_blueprint = Blueprint("metrics", __name__)
_blueprint.get("/metrics")(metrics)

API = Api("metrics", _blueprint, open=True)
