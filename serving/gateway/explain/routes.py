"""An image in, a map of what spoke for the answer out: numbers, or a picture."""

from dataclasses import dataclass

import numpy as np
from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray

from clients.errors import NotFoundError
from clients.predictor import Predicted
from serving.contract import ImageInput, Input
from serving.errors import InvalidInputError
from serving.gateway.arguments import only, version_or_label
from serving.gateway.context import context
from serving.gateway.names import not_found
from serving.gateway.predict.bodies import NamedExample, read_examples
from serving.gateway.state import gateway
from serving.heatmap_drawing import draw
from serving.inputs import prepare
from serving.occlusion import Occlusion, plan

JSON, PNG = "application/json", "image/png"
# More windows than this show nothing more.
_MOST_IMAGES = 256
# A batch beyond this many bytes is not worth the picture: the grid is made coarser.
_MOST_BYTES = 32 * 2**20


@dataclass(frozen=True)
class _Explained:
    occlusion: Occlusion
    image: NDArray[np.float32]
    spec: ImageInput
    predicted: Predicted


def explain(model: str) -> ResponseReturnValue:
    """Explain the image in the body: JSON, or a PNG where `Accept` prefers it.

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
        found = _occlude(model, example, version, label)
    except NotFoundError as error:
        raise not_found(model, version, label) from error
    contract = found.predicted.contract
    with current.phase("postprocess"):
        index = _explained_label(found.predicted, given.get("of"))
        scores = found.predicted.outputs[:, index]
        heatmap = found.occlusion.heatmap(scores)
        if request.accept_mimetypes.best_match([JSON, PNG]) == PNG:
            return Response(draw(found.image, heatmap, found.spec.range), mimetype=PNG)
        return jsonify(
            model=model,
            version=contract.version,
            label=contract.labels[index],
            score=float(scores[0]),
            method="occlusion",
            window=found.occlusion.window,
            stride=found.occlusion.stride,
            heatmap=np.round(heatmap, 6).tolist(),
        )


def _occlude(
    model: str, example: NamedExample, version: int | None, label: str | None
) -> _Explained:
    """Ask for the image and all its covered copies in one Predict."""
    config, current = gateway().config, context()
    occlusion: Occlusion | None = None

    def batch(spec: Input) -> NDArray[np.float32]:
        nonlocal occlusion
        with current.phase("preprocess"):
            if not isinstance(spec, ImageInput):
                raise InvalidInputError(
                    "model", expected="a model that takes images", got="one that takes rows"
                )
            image = prepare(example.get(), spec, field=example.field, max_pixels=config.max_pixels)
            most = min(_MOST_IMAGES, _MOST_BYTES // image.nbytes)
            occlusion = plan(image.shape[0], image.shape[1], most)
            return occlusion.images(image)

    predicted = gateway().predictor.predict(
        model, batch, version=version, label=label, timeout=current.time_left(), made_up=True
    )
    spec, inputs = predicted.contract.input, predicted.inputs
    if occlusion is None or not isinstance(spec, ImageInput) or isinstance(inputs, dict):
        raise RuntimeError("the predictor answered without having asked for a batch")
    return _Explained(occlusion, inputs[0], spec, predicted)


def _only_one(examples: list[NamedExample]) -> NamedExample:
    if len(examples) > 1:
        raise InvalidInputError("body", expected="one image", got=f"{len(examples)} examples")
    return examples[0]


def _explained_label(predicted: Predicted, wanted: str | None) -> int:
    """The index of the label that `?of=` names, else of the likeliest."""
    labels = predicted.contract.labels
    if not labels:
        raise InvalidInputError("model", expected="a classification", got="a regression")
    if wanted is None:
        return int(predicted.outputs[0].argmax())
    if wanted not in labels:
        known = ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
        raise InvalidInputError("of", expected=f"a label of the model ({known})", got=wanted[:40])
    return labels.index(wanted)
