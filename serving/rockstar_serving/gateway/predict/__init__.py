"""The gateway's own API: `POST /predict/<model>` and `GET /v1/models`."""

from flask import Blueprint

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.predict.models import list_models
from rockstar_serving.gateway.predict.routes import predict

_blueprint = Blueprint("predict", __name__)
_blueprint.post("/predict/<model>")(predict)
_blueprint.get("/v1/models")(list_models)

API = Api("predict", _blueprint)
