"""The page at `/`: draw something or choose an image to get a prediction of every model.

All its files are in this package, so that it works offline. Its links are relative, so that it
works under any path. Where the gateway has the files of models, a browser can run them too, with
LiteRT for browsers.
"""

import gzip
from pathlib import Path

from flask import Blueprint, Response, make_response, render_template, request
from werkzeug.exceptions import NotFound

from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.authentication import PAGE_HEADERS
from rockstar_serving.gateway.state import gateway

PAGES = Path(__file__).parent
# LiteRT for browsers, which `make litert-web` fetches.
LITERT = PAGES / "litert"
_WASM_POLICY = PAGE_HEADERS["Content-Security-Policy"].replace(
    "default-src 'self';", "default-src 'self'; script-src 'self' 'wasm-unsafe-eval';"
)
_LITERT_TYPES = {".js": "text/javascript", ".wasm": "application/wasm"}

_blueprint = Blueprint(
    "pages",
    __name__,
    static_folder="static",
    static_url_path="/static",
    template_folder="templates",
)

API = Api("pages", _blueprint, unlimited=True, headers=PAGE_HEADERS)


def litert_version() -> str:
    """The version of LiteRT for browsers in this installation; empty without it."""
    try:
        return (LITERT / "version.txt").read_text("ascii").strip()
    except FileNotFoundError:
        return ""


@_blueprint.get("/")
def index() -> Response:
    """The page; it can also run models itself if this gateway has their files."""
    here = gateway()
    litert = litert_version() if here.config.models_config else ""
    shown = {
        "litert": litert,
        "keyed": bool(here.keys),
        "max_rows": here.config.max_instances,
        "corrections": bool(here.config.corrections),
    }
    page = make_response(render_template("index.html", **shown))
    if litert:
        page.headers["Content-Security-Policy"] = _WASM_POLICY
    return page


@_blueprint.get("/playground")
def playground() -> str:
    """Small networks that learn in the browser."""
    return render_template("playground.html")


@_blueprint.get("/litert/<version>/<name>")
def litert_file(version: str, name: str) -> Response:
    """A file of LiteRT for browsers; its URL contains the version, so it never changes."""
    if version != litert_version() or not (kind := _LITERT_TYPES.get(Path(name).suffix)):
        raise NotFound
    try:
        content = (LITERT / f"{name}.gz").read_bytes()
    except FileNotFoundError:
        raise NotFound from None
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if request.accept_encodings["gzip"]:
        headers["Content-Encoding"] = "gzip"
    else:
        content = gzip.decompress(content)
    return Response(content, headers=headers, content_type=kind)
