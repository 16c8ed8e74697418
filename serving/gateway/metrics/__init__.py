"""`GET /metrics`: what Prometheus scrapes."""

from flask import Blueprint

from serving.gateway.api import Api
from serving.gateway.metrics.exposition import metrics

_blueprint = Blueprint("metrics", __name__)
_blueprint.get("/metrics")(metrics)

API = Api("metrics", _blueprint, open=True)
