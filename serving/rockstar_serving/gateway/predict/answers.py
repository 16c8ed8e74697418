"""What a model answered, example by example, as JSON, CSV or NumPy's .npy."""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from flask import Response
from numpy.typing import NDArray
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from rockstar_client.predictor import Predicted
from rockstar_contract.contract import Contract, ImageInput
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.labels import Prediction, Value, predictions, values
from rockstar_contract.tables import Adjustments
from rockstar_contract.tensor_inputs import to_json

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
TYPES = (JSON, CSV, NPY)


class Failed(msgspec.Struct, frozen=True):
    """An example that could not be judged, and why."""

    error: Mapping[str, str]


# Of a model that answers tensors, its outputs by name.
Item = Prediction | Value | Failed | dict[str, Any]


class Judgement(msgspec.Struct, frozen=True):
    """How outputs become answers.

    Attributes:
        top: how many labels to list.
        threshold: the least score of an answer; None takes that of the contract.
    """

    top: int
    threshold: float | None = None


@lru_cache(maxsize=64)
def accepted_type(accept: str | None) -> str | None:
    """The one of TYPES that an Accept header prefers; None where there is none, or none fits."""
    return parse_accept_header(accept, MIMEAccept).best_match(TYPES)


def accepts_json(accept: str | None) -> bool:
    """Whether an Accept header allows JSON, perhaps as its second choice."""
    return parse_accept_header(accept, MIMEAccept).quality(JSON) > 0


def judge(
    predicted: Predicted, problems: Mapping[int, InvalidInputError], judgement: Judgement
) -> list[Item]:
    """One item for each example, in their order.

    Args:
        predicted: what the model answered for the good examples.
        problems: of the bad examples, by their position.
        judgement: how.
    """
    contract, outputs = predicted.contract, predicted.outputs
    if contract.task != "classification" and judgement.threshold is not None:
        got = "a regression" if contract.task == "regression" else "a model without labels"
        raise InvalidInputError("threshold", expected="a classification", got=got)
    good: Sequence[Item]
    if contract.task == "tensors":
        columns = {name: to_json(array) for name, array in predicted.named.items()}
        rows = zip(*columns.values(), strict=True)
        good = [dict(zip(columns, row, strict=True)) for row in rows]
    elif contract.task == "regression":
        good = values(outputs)
    else:
        threshold = contract.threshold if judgement.threshold is None else judgement.threshold
        good = predictions(outputs, contract.labels, judgement.top, threshold)
        if isinstance(contract.input, ImageInput) and isinstance(predicted.inputs, np.ndarray):
            good = _blanks_named(good, predicted.inputs)
    rest = iter(good)
    return [
        _failed(problems[index]) if index in problems else next(rest)
        for index in range(len(good) + len(problems))
    ]


def as_json(
    model: str, version: int, items: Sequence[Item], adjusted: Mapping[int, Adjustments]
) -> Response:
    """`{"model", "version", "predictions": [item, …]}`.

    Args:
        model: its name.
        version: the one that answered.
        items: one for each example.
        adjusted: of rows, by their position. Items get "imputed" and "other", the document gets
            "ignored".
    """
    document: dict[str, Any] = {"model": model, "version": version, "predictions": items}
    if adjusted:
        document["predictions"] = [
            _with_adjustments(item, adjusted.get(index)) for index, item in enumerate(items)
        ]
        ignored = [name for each in adjusted.values() for name in each.ignored]
        if ignored:
            document["ignored"] = list(dict.fromkeys(ignored))
    return Response(msgspec.json.encode(document) + b"\n", mimetype=JSON)


def as_csv(
    contract: Contract, items: Sequence[Item], top: int, adjusted: Mapping[int, Adjustments]
) -> Response:
    """One row for each example: its number, label and score, or value, or what kept it from one.

    Where rows were adjusted, a last column says how.
    """
    if contract.task == "tensors":
        raise InvalidInputError(
            "Accept",
            expected="application/json, as this model answers tensors",
            got="text/csv",
            hint="POST /predict as JSON, or call the tensors: /v1, /v2, gRPC",
        )
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    last = ["error", "adjusted"] if adjusted else ["error"]
    if contract.task == "regression":
        writer.writerow(["example", "value", *last])
        width = 1
    else:
        top = min(top, len(contract.labels))
        more = [name for k in range(2, top + 1) for name in (f"label_{k}", f"score_{k}")]
        writer.writerow(["example", "label", "score", *more, *last])
        width = 2 * top
    for index, item in enumerate(items):
        if isinstance(item, dict):
            continue
        cells, problem = _cells(item)
        row = [index + 1, *cells, *[""] * (width - len(cells)), problem]
        writer.writerow([*row, _in_words(adjusted.get(index))] if adjusted else row)
    return Response(stream.getvalue(), mimetype=CSV)


def as_npy(predicted: Predicted, problems: Mapping[int, InvalidInputError]) -> Response:
    """float32 [examples, labels] as the model answered them; NaN for bad examples."""
    outputs = predicted.outputs
    if predicted.named:
        outputs, *others = predicted.named.values()
        if others or outputs.dtype.kind not in "fiub":
            names = ", ".join(predicted.named)
            raise InvalidInputError(
                "Accept",
                expected=f"application/json, as this model answers tensors ({names})",
                got="application/x-npy",
                hint="POST /predict as JSON, or call the tensors: /v1, /v2, gRPC",
            )
    size = len(outputs) + len(problems)
    whole = np.full((size, *outputs.shape[1:]), np.nan, np.float32)
    whole[[index for index in range(size) if index not in problems]] = outputs
    stream = io.BytesIO()
    np.save(stream, whole, allow_pickle=False)
    return Response(stream.getvalue(), mimetype=NPY)


def _blanks_named(items: list[Prediction], images: NDArray[Any]) -> list[Prediction]:
    """Say of an image without a label that nothing is on it, where that is so."""
    return [
        msgspec.structs.replace(item, reason="not sure: nothing is drawn on the image")
        if item.label is None and not np.any(images[index])
        else item
        for index, item in enumerate(items)
    ]


def _with_adjustments(item: Item, adjusted: Adjustments | None) -> Item | dict[str, Any]:
    if adjusted is None:
        return item
    members: dict[str, Any] = msgspec.to_builtins(item)
    more: dict[str, Any] = msgspec.to_builtins(adjusted)
    more.pop("ignored", None)
    return members | more


def _in_words(adjusted: Adjustments | None) -> str:
    if adjusted is None:
        return ""
    said = [
        f"{name} imputed as {value if isinstance(value, str) else f'{value:g}'}"
        for name, value in adjusted.imputed.items()
    ]
    said += [f"{name} {text!r} taken as other" for name, text in adjusted.other.items()]
    said += [f"{name} ignored" for name in adjusted.ignored]
    return "; ".join(said)


def _failed(error: InvalidInputError) -> Failed:
    members = {
        "detail": str(error),
        "field": error.field,
        "expected": error.expected,
        "got": error.got,
        "hint": error.hint,
    }
    return Failed({name: text for name, text in members.items() if text})


def _cells(item: Prediction | Value | Failed) -> tuple[list[str | float], str]:
    """What a row holds between the number and the error, and the error."""
    if isinstance(item, Value):
        return [item.value], ""
    if isinstance(item, Failed):
        return [], item.error["detail"]
    cells = [cell for score in item.top for cell in (score.label, score.score)]
    if item.label is None:
        return ["", *cells[1:]], item.reason
    return cells, ""
