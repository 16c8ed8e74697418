"""A model as one HTML file: LiteRT for browsers, the model, and a page to draw on.

It works from a double click, offline, and sends nothing. Modules are data URLs in an import map,
because browsers import no files from a disk; LiteRT and the model are base64 of gzip, which
browsers decompress.
"""

import base64
import gzip
import json
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup

from rockstar_contract.contract import CONTRACT_FILE, Contract, ContractError, ImageInput
from rockstar_contract.text_files import read_text
from rockstar_contract.version_folders import EDGE_FILE
from rockstar_serving.gateway.pages import LITERT, PAGES, litert_version
from rockstar_serving.model_folder import ModelFolderError

HOW_TO_GET_LITERT = "run `make litert-web` in a checkout, or install a released wheel"
_MODULES = (
    "standalone.js",
    "browser_model.js",
    "preprocessing.js",
    "resampling.js",
    "strokes.js",
    "drawing.js",
    "samples.js",
)
_LITERT_FILES = {
    "litert-module": "litert.js.gz",
    "litert-loader": "litert_wasm_compat_internal.js.gz",
    "litert-wasm": "litert_wasm_compat_internal.wasm.gz",
}
# Imports of each other's files, which an import map knows by name only.
_IMPORT = re.compile(r'from "\./')


def standalone_page(folder: Path) -> str:
    """The page for a version of a model by its folder, such as models/cnn/3.

    Raises ModelFolderError if the model takes no image or has no edge.tflite, or LiteRT for
    browsers is not installed.
    """
    version = litert_version()
    if not version:
        raise ModelFolderError(f"LiteRT for browsers is not installed: {HOW_TO_GET_LITERT}")
    try:
        contract = Contract.from_json(read_text(folder / CONTRACT_FILE))
    except (ContractError, OSError) as error:
        raise ModelFolderError(f"{folder}: no contract can be read: {error}") from error
    name = f"{contract.model} version {contract.version}"
    if not isinstance(contract.input, ImageInput) or contract.task != "classification":
        raise ModelFolderError(f"{name} does not classify images, which the page is for")
    try:
        model = (folder / EDGE_FILE).read_bytes()
    except FileNotFoundError as error:
        raise ModelFolderError(
            f"{name} has no {EDGE_FILE}: LiteRT cannot run it, or another tool exported it"
        ) from error
    files = {id_: (LITERT / file).read_bytes() for id_, file in _LITERT_FILES.items()}
    files["model"] = gzip.compress(model, 9, mtime=0)
    imports = {module: _data_url(module) for module in _MODULES}
    environment = Environment(
        loader=FileSystemLoader(PAGES / "templates"), autoescape=select_autoescape()
    )
    return environment.get_template("standalone.html").render(
        contract=contract,
        # Our own files, which contain no closing tags.
        style=Markup((PAGES / "static/page.css").read_text("utf-8")),  # noqa: S704
        imports=Markup(json.dumps({"imports": imports})),  # noqa: S704
        icon=_base64((PAGES / "static/icon.svg").read_bytes()),
        files={id_: _base64(content) for id_, content in files.items()},
        litert_version=version,
        license=(LITERT / "LICENSE.txt").read_text("utf-8"),
    )


def _data_url(module: str) -> str:
    text = _IMPORT.sub('from "', (PAGES / "static" / module).read_text("utf-8"))
    return f"data:text/javascript;base64,{_base64(text.encode())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
