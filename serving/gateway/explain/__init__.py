"""`POST /explain/<model>`: which pixels made the answer."""

from flask import Blueprint

from serving.gateway.api import Api
from serving.gateway.explain.routes import explain

_blueprint = Blueprint("explain", __name__)
_blueprint.post("/explain/<model>")(explain)

API = Api("explain", _blueprint)
