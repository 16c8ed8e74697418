"""The document, and Swagger UI's files with a page that starts them."""

import importlib.util
from functools import cache
from pathlib import Path

from flask import Response, jsonify, render_template, request, send_from_directory
from werkzeug.exceptions import NotFound

from rockstar_serving.gateway.docs.document import document
from rockstar_serving.gateway.state import gateway

# Its own page has scripts inline, which ours may not.
_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")


def openapi() -> Response:
    """Describe this gateway."""
    state = gateway()
    return jsonify(
        document(state.config, (*state.served.names, *state.aliases), request.root_path.rstrip("/"))
    )


def page() -> str:
    """Swagger UI on the document."""
    return render_template("docs.html")


def swagger_ui(name: str) -> Response:
    """One of its files."""
    if name not in _FILES:
        raise NotFound
    return send_from_directory(_folder(), name)


@cache
def _folder() -> Path:
    """Where the package has the files; it is not imported, only looked up."""
    spec = importlib.util.find_spec("flask_swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package flask-swagger-ui is not installed")
    return Path(spec.submodule_search_locations[0]) / "dist"
