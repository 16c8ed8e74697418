"""`/openapi.json`, which describes all APIs, and `/docs`, which shows it and lets people try."""

from flask import Blueprint

from rockstar_serving.gateway.access import PAGE_HEADERS
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.docs.routes import openapi, page, swagger_ui

_blueprint = Blueprint(
    "docs",
    __name__,
    static_folder="static",
    static_url_path="/docs/static",
    template_folder="templates",
)
_blueprint.get("/openapi.json")(openapi)
_blueprint.get("/docs")(page)
_blueprint.get("/docs/swagger-ui/<name>")(swagger_ui)

API = Api("docs", _blueprint, open=True, headers=PAGE_HEADERS)
