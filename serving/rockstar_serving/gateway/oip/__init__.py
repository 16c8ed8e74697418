"""`/v2/…`: the Open Inference Protocol (KServe's v2) over the same models.

Source: KServe's documents "Open Inference Protocol (V2)" and "Binary Tensor Data Extension".
"""

import msgspec
from flask import Blueprint, Response

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.oip import health, infer, metadata
from rockstar_serving.gateway.problem import Problem


def _render(problem: Problem) -> Response:
    return Response(msgspec.json.encode({"error": problem.text}), mimetype="application/json")


_MODEL = "/v2/models/<model>"
_VERSION = f"{_MODEL}/versions/<version>"

_blueprint = Blueprint("oip", __name__)
_blueprint.get("/v2")(metadata.server)
for _path in (_MODEL, _VERSION):
    _blueprint.get(_path)(metadata.model)
    _blueprint.post(f"{_path}/infer")(infer.infer)

_probes = Blueprint("oip-health", __name__)
_probes.get("/v2/health/live")(health.live)
_probes.get("/v2/health/ready")(health.ready)
for _path in (_MODEL, _VERSION):
    _probes.get(f"{_path}/ready")(health.model_ready)

API = Api("oip", _blueprint, render=_render, prefix="/v2", relays=True)
HEALTH = Api("oip-health", _probes, render=_render, open=True)
