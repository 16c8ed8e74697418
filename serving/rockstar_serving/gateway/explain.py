"""`POST /explain/<model>`: a heatmap of an image, or the effect of each column of a row."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray

from rockstar_client.calls import run
from rockstar_client.errors import NotFoundError
from rockstar_client.predictor import Predicted
from rockstar_contract.contract import ImageInput, Input, TableInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import Example, prepare
from rockstar_contract.tables import Adjustments
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.bodies import read_examples
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import not_found
from rockstar_serving.gateway.predict import arguments, version_or_label
from rockstar_serving.gateway.receiving import hold
from rockstar_serving.gateway.state import gateway
from rockstar_serving.occlusion import (
    Occlusion,
    column_effects,
    draw,
    plan,
    replaced_rows,
    typical_value,
)

JSON, PNG = "application/json", "image/png"
# More windows do not improve the heatmap.
_MAX_IMAGES = 256
# A larger batch is not worth it: a coarser grid is used instead.
_MAX_BYTES = 32 * 2**20

_blueprint = Blueprint("explain", __name__)


@_blueprint.post("/explain/<model>")
def explain(model: str) -> ResponseReturnValue:
    """Explain an image or a row: as JSON, or as a PNG if it is an image and `Accept` prefers that.

    `?of=LABEL` explains that label instead of the predicted one.
    """
    given = arguments("version", "label", "of")
    version, label = version_or_label(given)
    current, here = context(), gateway()
    current.model = model
    with current.phase("preprocess"):
        examples = read_examples(current, here.config)
        if len(examples) > 1:
            raise InvalidInputError(
                "body", expected="one image or row", got=f"{len(examples)} examples"
            )
        example = examples[0]
    current.instances = 1
    occlusion: Occlusion | None = None
    adjusted = Adjustments()

    def with_copies(spec: Input) -> NDArray[np.float32]:
        """The example and its changed copies, float32 [copies, *spec.shape]."""
        nonlocal occlusion
        tensor = prepare(
            example.get(),
            spec,
            field=example.field,
            max_pixels=here.config.max_pixels,
            adjusted=adjusted,
            reserve=hold,
        )
        if isinstance(spec, TableInput):
            return replaced_rows(tensor, spec.columns)
        most = min(_MAX_IMAGES, _MAX_BYTES // tensor.nbytes)
        occlusion = plan(tensor.shape[0], tensor.shape[1], most)
        return occlusion.images(tensor)

    try:
        steps = here.predictor.predict(current, with_copies, version=version, label=label)
        predicted = run(steps, here.predictor.send)
    except NotFoundError as error:
        raise run(not_found(model, version, label), here.backend.send) from error
    contract, inputs = predicted.contract, predicted.inputs
    with current.phase("postprocess"):
        if isinstance(contract.input, TableInput):
            document = _row_document(predicted, example.get(), given.get("of"))
            return jsonify({"model": model} | document | msgspec.to_builtins(adjusted))
        if not (
            occlusion and isinstance(contract.input, ImageInput) and not isinstance(inputs, dict)
        ):
            raise RuntimeError("the predictor did not call with_copies for an image")
        index = _label_index(predicted, given.get("of"))
        scores = predicted.outputs[:, index]
        heatmap = occlusion.heatmap(scores)
        if request.accept_mimetypes.best_match([JSON, PNG]) == PNG:
            return Response(draw(inputs[0], heatmap, contract.input.range), mimetype=PNG)
        return jsonify(
            model=model,
            version=contract.version,
            label=contract.labels[index],
            score=float(scores[0]),
            method="occlusion",
            window=occlusion.window,
            stride=occlusion.stride,
            heatmap=np.round(heatmap, 6).tolist(),
        )


def _row_document(predicted: Predicted, row: Example, of: str | None) -> dict[str, Any]:
    """The effect of each column on the answer, the strongest first."""
    contract = predicted.contract
    assert isinstance(contract.input, TableInput)  # noqa: S101
    answer: dict[str, Any]
    if contract.task == "regression":
        if of is not None:
            raise InvalidInputError(
                "of", expected="no label, as the model predicts a number", got=of[:40]
            )
        scores = predicted.outputs[:, 0]
        answer = {"value": float(scores[0])}
    else:
        index = _label_index(predicted, of)
        scores = predicted.outputs[:, index]
        answer = {"label": contract.labels[index], "score": float(scores[0])}
    cells = row if isinstance(row, Mapping) else {}
    columns = []
    effects = column_effects(scores).tolist()
    for column, effect in zip(contract.input.columns, effects, strict=True):
        value = cells.get(column.name)
        columns.append(
            {
                "name": column.name,
                "value": value if value == value else None,  # null for NaN
                "replaced_by": typical_value(column),
                "effect": effect,
            }
        )
    return {
        "version": contract.version,
        **answer,
        "method": "replacement",
        "columns": sorted(columns, key=lambda column: -abs(column["effect"])),
    }


def _label_index(predicted: Predicted, wanted: str | None) -> int:
    """The index of the label that `?of=` names, or of the predicted one."""
    labels = predicted.contract.labels
    if not labels:
        raise InvalidInputError(
            "model", expected="a classification of images", got="a regression of images"
        )
    if wanted is None:
        return int(predicted.outputs[0].argmax())
    if wanted not in labels:
        known = ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
        raise InvalidInputError("of", expected=f"a label of the model ({known})", got=wanted[:40])
    return labels.index(wanted)


API = Api("explain", _blueprint)
