"""`POST /explain/<model>`: which pixels made the answer."""

from flask import Blueprint

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.explain.routes import explain

_blueprint = Blueprint("explain", __name__)
_blueprint.post("/explain/<model>")(explain)

API = Api("explain", _blueprint)
