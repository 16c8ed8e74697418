"""The page at `/`: draw something or choose an image to get a prediction of every model.

All its files are in this package, so that it works offline. Its links are relative, so that it
works under any path.
"""

from flask import Blueprint, render_template

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.authentication import PAGE_HEADERS

_blueprint = Blueprint(
    "pages",
    __name__,
    static_folder="static",
    static_url_path="/static",
    template_folder="templates",
)
_blueprint.get("/")(lambda: render_template("index.html"))

API = Api("pages", _blueprint, unlimited=True, headers=PAGE_HEADERS)
