"""For whoever runs a gateway: is it alive, is it ready."""

from flask import Blueprint

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.ops.health import live, ready

_blueprint = Blueprint("ops", __name__)
_blueprint.get("/livez")(live)
_blueprint.get("/readyz")(ready)

API = Api("ops", _blueprint, open=True)
