"""What the page shows of a model: prepared image, layers, similar training examples, documents.

Layers and training examples come from the version's folder, so only gateways with a models.config
have them. These paths are for the page only and may change.
"""

import base64
import fcntl
import hashlib
import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify, send_file
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray
from werkzeug.exceptions import NotFound

from rockstar_client.backend import Query
from rockstar_client.calls import run
from rockstar_client.errors import NotFoundError
from rockstar_contract.activations import NEIGHBORS_FILE, Activation, LayerReader, Neighbors
from rockstar_contract.contract import Contract, ImageInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.images import decode_image, encode_png, to_levels, to_pillow
from rockstar_contract.inputs import prepare
from rockstar_contract.manifest import ManifestError, check_manifest
from rockstar_contract.text_files import open_regular, replace_file
from rockstar_contract.version_folders import EDGE_FILE, served_versions
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.bodies import read_examples
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import ProblemError, not_found
from rockstar_serving.gateway.predict import arguments, version_or_label
from rockstar_serving.gateway.receiving import hold, whole_body
from rockstar_serving.gateway.state import gateway

_CARD_FILE = "assets.extra/model_card.md"
_MAX_EDGE_BYTES = 64 * 2**20
# Layers with more channels or units are drawn in part.
_MAX_CHANNELS, _MAX_UNITS, _UNITS_PER_ROW = 64, 1024, 32
_NEAREST = 5
# Corrections that are kept, and their longest side: as PNG files they have at most 800 kB.
_MAX_CORRECTIONS, _CORRECTION_SIDE = 2000, 512
# The report has its styles inline, and no script.
_REPORT_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "frame-ancestors 'none'; base-uri 'none'; sandbox"
}

log = logging.getLogger(__name__)

_blueprint = Blueprint("inspection", __name__)


@_blueprint.get("/page/models/<model>")
def describe(model: str) -> ResponseReturnValue:
    """List what there is to see of a model's newest version."""
    contract = _contract(model, None, None)
    folder = _version_folder(model, contract.version)
    found = {"layers": False, "card": False, "report": False}
    if folder is not None:
        is_image = isinstance(contract.input, ImageInput)
        found["layers"] = is_image and (folder / EDGE_FILE).is_file()
        found["card"] = (folder / _CARD_FILE).is_file()
        found["report"] = _report(folder).is_file()
    return jsonify({"model": model, "version": contract.version} | found)


@_blueprint.post("/page/models/<model>/inspect")
def inspect(model: str) -> ResponseReturnValue:
    """Return the prepared image in the body, what layers compute for it, and similar examples."""
    version, label = version_or_label(arguments("version", "label"))
    current, here = context(), gateway()
    current.model = model
    contract = _contract(model, version, label)
    spec = contract.input
    if not isinstance(spec, ImageInput):
        raise InvalidInputError(
            "model", expected="a model that takes images", got="one that takes rows or tensors"
        )
    with current.phase("preprocess"):
        examples = read_examples(current, here.config)
        if len(examples) > 1:
            raise InvalidInputError("body", expected="one image", got=f"{len(examples)} images")
        most, field = here.config.max_pixels, examples[0].field
        example = examples[0].get()
        tensor = prepare(example, spec, field=field, max_pixels=most, reserve=hold)
    layers: list[Activation] = []
    nearest: list[dict[str, str]] = []
    folder = _version_folder(model, contract.version)
    if folder is not None:
        try:
            layers, nearest = _look_inside(folder, tensor, contract)
        except FileNotFoundError:
            log.info("%s has no %s: its layers cannot be shown", folder, EDGE_FILE)
        except (ManifestError, OSError, ValueError, RuntimeError, KeyError) as error:
            log.warning("the layers of %s cannot be shown: %s", folder, error)
    return jsonify(
        model=model,
        version=contract.version,
        input={"image": _data_url(to_levels(tensor, *spec.range)), "shape": list(spec.shape)},
        layers=[
            {"name": name, "shape": list(values.shape), "image": _data_url(_tiles(values))}
            for name, values in layers
        ],
        nearest=nearest,
    )


@_blueprint.get("/edge/<model>")
def edge(model: str) -> Response:
    """The edge.tflite of a version, the newest by default, for browsers and phones."""
    version, _ = version_or_label(arguments("version"))
    version = _contract(model, version, None).version
    folder = _version_folder(model, version)
    if folder is None or not (folder / EDGE_FILE).is_file():
        why = f"This gateway has no {EDGE_FILE} of {model} version {version}."
        raise ProblemError(HTTPStatus.NOT_FOUND, why)
    return send_file(folder / EDGE_FILE, "application/octet-stream")


@_blueprint.post("/page/models/<model>/corrections")
def correct(model: str) -> ResponseReturnValue:
    """Keep the image in the body with the label in the URL, for the next training.

    It is written as a PNG without metadata, a large one scaled down. An image that was kept before
    moves to its new label.
    """
    here, current = gateway(), context()
    if not here.config.corrections:
        hint = "ROCKSTAR_CORRECTIONS=FOLDER keeps them"
        raise ProblemError(HTTPStatus.NOT_FOUND, "This gateway keeps no corrections.", hint=hint)
    if current.header("sec-fetch-site") not in (None, "none", "same-origin"):
        raise ProblemError(HTTPStatus.FORBIDDEN, "Only the gateway's own page sends corrections.")
    label = arguments("label").get("label", "")
    labels = _contract(model, None, None).labels
    if label not in labels:
        raise InvalidInputError("label", expected=f"a label of {model}", got=label[:40] or "none")
    if label.startswith(".") or "/" in label or "\0" in label:
        raise InvalidInputError("label", expected="a label that can name a folder", got=label[:40])
    body = whole_body(current, here.config)
    pixels = decode_image(body, "body", max_pixels=here.config.max_pixels, reserve=hold)
    image = to_pillow(pixels)
    image.thumbnail((_CORRECTION_SIDE, _CORRECTION_SIDE))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    content, folder = stream.getvalue(), Path(here.config.corrections)
    kept = folder / label / f"correction-{hashlib.sha256(content).hexdigest()[:32]}.png"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            others = [path for path in folder.glob("*/correction-*.png") if path.name != kept.name]
            if len(others) >= _MAX_CORRECTIONS:
                most = f"{_MAX_CORRECTIONS:,} corrections already"
                why = f"There are {most}: train with them, and move them."
                raise ProblemError(HTTPStatus.INSUFFICIENT_STORAGE, why)
            replace_file(kept, content)
            for other in labels:
                if other != label and "/" not in other:
                    (folder / other / kept.name).unlink(missing_ok=True)
    except OSError as error:
        log.error("a correction cannot be written to %s: %s", folder, error)
        why = "The correction cannot be written; the log says why."
        raise ProblemError(HTTPStatus.INSUFFICIENT_STORAGE, why) from error
    return jsonify(label=label, corrections=len(others) + 1)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for other processes: two pages may label the same image at the same time."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@_blueprint.get("/page/models/<model>/card")
def card(model: str) -> Response:
    """The model card, Markdown."""
    folder = _version_folder(model, _contract(model, None, None).version)
    return _text(folder and folder / _CARD_FILE, "text/plain")


@_blueprint.get("/page/models/<model>/report")
def report(model: str) -> Response:
    """The report of the run that trained the version; only beside the folder of models."""
    folder = _version_folder(model, _contract(model, None, None).version)
    response = _text(folder and _report(folder), "text/html")
    response.headers.update(_REPORT_HEADERS)
    return response


def _contract(model: str, version: int | None, label: str | None) -> Contract:
    context().model = model
    here = gateway()
    query = Query(model, version=version, label=label, timeout=context().time_left())
    try:
        return here.backend.contract(query)
    except NotFoundError as error:
        raise run(not_found(model, version, label), here.backend.send) from error


def _version_folder(model: str, version: int) -> Path | None:
    """The folder of a version; None if this gateway only knows the address of its server."""
    config = gateway().config.models_config
    if not config:
        return None
    from rockstar_serving.model_server.models.config import read_config_file

    for each in read_config_file(Path(config)):
        if each.name == model:
            return served_versions(each.base_path).get(version)
    return None


def _report(folder: Path) -> Path:
    """Where rockstar train writes the report of models/cnn/3: runs/cnn-3/report.html."""
    model = folder.parent
    return model.parent.parent / "runs" / f"{model.name}-{folder.name}" / "report.html"


def _text(path: Path | None, mimetype: str) -> Response:
    if path is None:
        raise NotFound
    try:
        with open_regular(path) as file:
            return Response(file.read(), content_type=f"{mimetype}; charset=utf-8")
    except OSError as error:
        raise NotFound from error


def _look_inside(
    folder: Path, tensor: NDArray[np.float32], contract: Contract
) -> tuple[list[Activation], list[dict[str, str]]]:
    """Run the network on a prepared image; return its layers and the nearest examples."""
    hold(3 * min((folder / EDGE_FILE).stat().st_size, _MAX_EDGE_BYTES))
    layers = LayerReader(_read(folder, EDGE_FILE)).run(tensor)
    if not (folder / NEIGHBORS_FILE).exists():
        return layers, []
    found = Neighbors.from_bytes(_read(folder, str(NEIGHBORS_FILE)))
    features = layers[-1].values if layers else tensor
    return layers, [
        {"label": contract.labels[found.labels[row]], "image": _data_url(found.images[row])}
        for row in found.nearest(features.ravel(), _NEAREST)
    ]


def _read(folder: Path, name: str) -> bytes:
    """Read a file of a version that is what was published: LiteRT crashes on damaged files."""
    manifest = check_manifest(folder, reads=lambda _: False)
    with open_regular(folder / name) as file:
        content: bytes = file.read(_MAX_EDGE_BYTES + 1)
    if len(content) > _MAX_EDGE_BYTES:
        raise ValueError(f"{name} has more than {_MAX_EDGE_BYTES:,} bytes")
    manifest.check_hash(folder, name, hashlib.sha256(content).hexdigest())
    return content


def _tiles(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a layer, [h, w, channels] or [units], as uint8 [h, w, 1]: its largest value is white."""
    levels = to_levels(values, 0, float(values.max(initial=0)) or 1)
    if levels.ndim == 1:
        levels = levels[np.newaxis, np.newaxis, :_MAX_UNITS]
        columns = min(_UNITS_PER_ROW, levels.shape[2])
    else:
        levels = levels[:, :, :_MAX_CHANNELS]
        columns = ceil(sqrt(2 * levels.shape[2]))
    height, width, count = levels.shape
    rows = ceil(count / columns)
    # A line of medium gray between tiles.
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 1), 96, np.uint8)
    for number in range(count):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        sheet[top : top + height, left : left + width, 0] = levels[:, :, number]
    return sheet


def _data_url(pixels: NDArray[Any]) -> str:
    return f"data:image/png;base64,{base64.b64encode(encode_png(pixels)).decode()}"


API = Api("inspection", _blueprint)
