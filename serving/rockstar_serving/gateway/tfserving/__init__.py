"""`/v1/…`: TensorFlow Serving's REST API, for clients that speak it.

Requests are read, and answers written, by what the embedded model server does that with; in between
they go upstream as any other.
"""

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.problem import Problem
from rockstar_serving.gateway.tfserving import routes
from rockstar_serving.gateway.tfserving.signatures import EXTENSION, Signatures
from tfs_api.rest_answers import error_json


def _render(problem: Problem) -> Response:
    return Response(error_json(problem.text), mimetype="application/json")


def _remember_signatures(setup: BlueprintSetupState) -> None:
    setup.app.extensions[EXTENSION] = Signatures()


_METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"]

_blueprint = Blueprint("tfserving", __name__)
_blueprint.record(_remember_signatures)
_blueprint.url_value_preprocessor(routes.find_model)


def _add(path: str, methods: list[str]) -> None:
    _blueprint.add_url_rule(
        path,
        view_func=routes.answer,
        methods=methods,
        provide_automatic_options=False,
        strict_slashes=False,
    )


# What there is, for metrics and documents to name.
for _model in (
    "/v1/models/<model>",
    "/v1/models/<model>/versions/<version>",
    "/v1/models/<model>/labels/<label>",
):
    for _verb in ("predict", "classify", "regress"):
        _add(f"{_model}:{_verb}", ["POST"])
    _add(_model, ["GET"])
    _add(f"{_model}/metadata", ["GET"])
# All else that TensorFlow Serving's patterns decide on; to them capitals are the same.
for _path in ("/v1/", "/v1/<path:path>", "/V1/<path:path>"):
    _add(_path, _METHODS)

API = Api("tfserving", _blueprint, render=_render, prefix="/v1/", relays=True)
