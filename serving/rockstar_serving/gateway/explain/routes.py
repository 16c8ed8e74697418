"""An image in, a map of what spoke for the answer out; a row in, what each column did to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray

from rockstar_client.errors import NotFoundError
from rockstar_client.predictor import Predicted
from rockstar_contract.contract import ImageInput, Input, TableInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import Example, prepare
from rockstar_contract.tables import Adjustments
from rockstar_serving.column_effects import column_effects, replaced_rows, typical_value
from rockstar_serving.gateway.arguments import only, version_or_label
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.names import not_found
from rockstar_serving.gateway.predict.bodies import NamedExample, read_examples
from rockstar_serving.gateway.state import gateway
from rockstar_serving.heatmap_drawing import draw
from rockstar_serving.occlusion import Occlusion, plan

JSON, PNG = "application/json", "image/png"
# More windows than this show nothing more.
_MOST_IMAGES = 256
# A batch beyond this many bytes is not worth the picture: the grid is made coarser.
_MOST_BYTES = 32 * 2**20


@dataclass(frozen=True)
class _Asked:
    """A model's answers for an example and its changed copies; the first is the example's own.

    Attributes:
        predicted: the answers.
        tensor: the example as the model takes it.
        occlusion: how an image was covered; None for a row.
        adjusted: what was imputed and ignored in a row.
    """

    predicted: Predicted
    tensor: NDArray[np.float32]
    occlusion: Occlusion | None
    adjusted: Adjustments


def explain(model: str) -> ResponseReturnValue:
    """Explain an image or a row: JSON, or for an image a PNG where `Accept` prefers it.

    `?of=LABEL` asks what spoke for that label instead of the likeliest one.
    """
    given = only("version", "label", "of")
    version, label = version_or_label(given)
    current = context()
    current.model = model
    with current.phase("preprocess"):
        example = _only_one(read_examples(request, gateway().config))
    current.instances = 1
    try:
        asked = _ask(model, example, version, label)
    except NotFoundError as error:
        raise not_found(model, version, label) from error
    contract = asked.predicted.contract
    with current.phase("postprocess"):
        if isinstance(contract.input, TableInput):
            return jsonify(_row_document(model, asked, example.get(), given.get("of")))
        assert asked.occlusion is not None and isinstance(contract.input, ImageInput)  # noqa: S101, PT018
        index = _explained_label(asked.predicted, given.get("of"))
        scores = asked.predicted.outputs[:, index]
        heatmap = asked.occlusion.heatmap(scores)
        if request.accept_mimetypes.best_match([JSON, PNG]) == PNG:
            return Response(draw(asked.tensor, heatmap, contract.input.range), mimetype=PNG)
        return jsonify(
            model=model,
            version=contract.version,
            label=contract.labels[index],
            score=float(scores[0]),
            method="occlusion",
            window=asked.occlusion.window,
            stride=asked.occlusion.stride,
            heatmap=np.round(heatmap, 6).tolist(),
        )


def _ask(model: str, example: NamedExample, version: int | None, label: str | None) -> _Asked:
    """Predict the example and all its changed copies in one call."""
    config, current = gateway().config, context()
    occlusion: Occlusion | None = None
    adjusted = Adjustments()

    def batch(spec: Input) -> NDArray[np.float32]:
        nonlocal occlusion
        with current.phase("preprocess"):
            tensor = prepare(
                example.get(),
                spec,
                field=example.field,
                max_pixels=config.max_pixels,
                adjusted=adjusted,
            )
            if isinstance(spec, TableInput):
                return replaced_rows(tensor, spec.columns)
            most = min(_MOST_IMAGES, _MOST_BYTES // tensor.nbytes)
            occlusion = plan(tensor.shape[0], tensor.shape[1], most)
            return occlusion.images(tensor)

    predicted = gateway().predictor.predict(
        model, batch, version=version, label=label, timeout=current.time_left(), made_up=True
    )
    if isinstance(predicted.inputs, dict):
        raise RuntimeError("the predictor answered without having asked for a batch")
    return _Asked(predicted, predicted.inputs[0], occlusion, adjusted)


def _row_document(model: str, asked: _Asked, row: Example, of: str | None) -> dict[str, Any]:
    """What each column did to the answer, the strongest first."""
    contract = asked.predicted.contract
    assert isinstance(contract.input, TableInput)  # noqa: S101
    answer: dict[str, Any] = {}
    if contract.task == "regression":
        if of is not None:
            raise InvalidInputError(
                "of", expected="no label, as the model predicts a number", got=of[:40]
            )
        scores = asked.predicted.outputs[:, 0]
        answer["value"] = float(scores[0])
    else:
        index = _explained_label(asked.predicted, of)
        scores = asked.predicted.outputs[:, index]
        answer |= {"label": contract.labels[index], "score": float(scores[0])}
    cells = row if isinstance(row, Mapping) else {}
    columns = [
        {
            "name": column.name,
            "value": _finite(cells.get(column.name)),
            "replaced_by": typical_value(column),
            "effect": effect,
        }
        for column, effect in zip(
            contract.input.columns, column_effects(scores).tolist(), strict=True
        )
    ]
    return {
        "model": model,
        "version": contract.version,
        **answer,
        "method": "replacement",
        "columns": sorted(columns, key=lambda column: -abs(column["effect"])),
        **msgspec.to_builtins(asked.adjusted),
    }


def _finite(value: Any) -> Any:
    """A cell as JSON has it: null for NaN."""
    return None if value != value else value


def _only_one(examples: list[NamedExample]) -> NamedExample:
    if len(examples) > 1:
        raise InvalidInputError(
            "body", expected="one image or row", got=f"{len(examples)} examples"
        )
    return examples[0]


def _explained_label(predicted: Predicted, wanted: str | None) -> int:
    """The index of the label that `?of=` names, else of the likeliest."""
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
