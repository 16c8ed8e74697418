"""`POST /explain/<model>`: a heatmap of an image, or the effect of each column of a row."""

from collections.abc import Mapping

import msgspec
import numpy as np
from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray

from rockstar_client.calls import run
from rockstar_client.errors import NotFoundError
from rockstar_client.predictor import Predicted
from rockstar_client.results import ColumnEffect, Explanation, RowExplanation
from rockstar_contract.contract import Input, TableInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import Example
from rockstar_contract.tables import Adjustments
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.bodies import read_examples
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import not_found
from rockstar_serving.gateway.predict import arguments, version_or_label
from rockstar_serving.gateway.receiving import prepare_in_turn
from rockstar_serving.gateway.state import gateway
from rockstar_serving.occlusion import Occlusion, draw, plan, replaced_rows, typical_value

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
    adjusted = Adjustments()

    def with_copies(spec: Input) -> NDArray[np.float32]:
        """The example and its changed copies, float32 [copies, *spec.shape]."""
        sent, field = example.get(), example.field
        tensor = prepare_in_turn(here, current, sent, spec, field, adjusted=adjusted)
        if isinstance(spec, TableInput):
            return replaced_rows(tensor, spec.columns)
        return _windows(tensor).images(tensor)

    try:
        steps = here.predictor.predict(current, with_copies, version=version, label=label)
        predicted = run(steps, here.predictor.send)
    except NotFoundError as error:
        raise run(not_found(model, version, label), here.backend.send) from error
    contract, of = predicted.contract, given.get("of")
    spec, inputs = contract.encoded, np.asarray(predicted.inputs)
    with current.phase("postprocess"):
        if isinstance(spec, TableInput):
            explained = _explain_row(model, predicted, spec, example.get(), of)
            return jsonify(msgspec.to_builtins(explained) | msgspec.to_builtins(adjusted))
        index, occlusion = _label_index(predicted, of), _windows(inputs[0])
        scores = predicted.outputs[:, index]
        heatmap = occlusion.heatmap(scores)
        if request.accept_mimetypes.best_match([JSON, PNG]) == PNG:
            return Response(draw(inputs[0], heatmap, spec.range), mimetype=PNG)
        explanation = Explanation(
            model,
            contract.version,
            contract.labels[index],
            float(scores[0]),
            "occlusion",
            occlusion.window,
            occlusion.stride,
            np.round(heatmap, 6).tolist(),
        )
        return jsonify(explanation)


def _windows(image: NDArray[np.float32]) -> Occlusion:
    """The windows that cover an image, float32 [h, w, c]."""
    return plan(image.shape[0], image.shape[1], min(_MAX_IMAGES, _MAX_BYTES // image.nbytes))


def _explain_row(
    model: str, predicted: Predicted, spec: TableInput, row: Example, of: str | None
) -> RowExplanation:
    """The effect of each column on the answer."""
    contract = predicted.contract
    label = score = value = None
    if contract.task == "regression":
        if of is not None:
            raise InvalidInputError(
                "of", expected="no label, as the model predicts a number", got=of[:40]
            )
        scores = predicted.outputs[:, 0].tolist()
        value = scores[0]
    else:
        index = _label_index(predicted, of)
        scores = predicted.outputs[:, index].tolist()
        label, score = contract.labels[index], scores[0]
    cells = row if isinstance(row, Mapping) else {}
    columns = [
        ColumnEffect(column.name, cells.get(column.name), typical_value(column), scores[0] - other)
        for column, other in zip(spec.columns, scores[1:], strict=True)
    ]
    columns.sort(key=lambda column: -abs(column.effect))
    return RowExplanation(
        model=model,
        version=contract.version,
        label=label,
        score=score,
        value=value,
        method="replacement",
        columns=columns,
    )


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
