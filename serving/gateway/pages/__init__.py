"""The page at `/`: draw something or choose an image, and every model answers.

All its files are in this package, so that it works offline. Its links are relative, so that it
works under any path.
"""

from flask import Blueprint, redirect, render_template, request
from flask.typing import ResponseReturnValue

from serving.gateway.api import Api
from serving.gateway.browsers import PAGE_HEADERS

_blueprint = Blueprint(
    "pages",
    __name__,
    static_folder="static",
    static_url_path="/static",
    template_folder="templates",
)


def _page() -> ResponseReturnValue:
    # Where the gateway is mounted at /ml, relative links work from /ml/ only.
    if not request.environ["PATH_INFO"]:
        return redirect(f"{request.environ['SCRIPT_NAME']}/")
    return render_template("index.html")


_blueprint.get("/")(_page)

API = Api("pages", _blueprint, open=True, headers=PAGE_HEADERS)
