"""A model's outputs as labels or values, and as JSON, CSV or NumPy's .npy."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from rockstar_client.predictor import Predicted
from rockstar_contract.contract import (
    Contract,
    ImageInput,
    Prediction,
    Value,
    label_probabilities,
    to_values,
)
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import to_rows
from rockstar_contract.tables import Adjustments

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
TYPES = (JSON, CSV, NPY)


class ExampleError(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong with an example; see ProblemError."""

    detail: str
    field: str
    expected: str
    got: str
    hint: str = ""


class Failed(msgspec.Struct, frozen=True):
    """An example that could not be predicted, and why."""

    error: ExampleError


# The answer for one example; of a model of tensors, its outputs by name.
Item = Prediction | Value | Failed | dict[str, Any]


@lru_cache(maxsize=64)
def accepted_type(accept: str | None) -> str | None:
    """The one of TYPES that an Accept header prefers; None without a header or a match."""
    return _types(accept).best_match(TYPES)


def accepts_json(accept: str | None) -> bool:
    """Whether an Accept header allows JSON, even if it prefers another type."""
    return _types(accept).quality(JSON) > 0


def _types(accept: str | None) -> MIMEAccept:
    # Without parameters such as charset, which would have to match.
    plain = re.sub(r";\s*(?!q=)[^;,]*", "", accept or "", flags=re.IGNORECASE)
    return parse_accept_header(plain or None, MIMEAccept)


def postprocess(
    predicted: Predicted,
    problems: Mapping[int, InvalidInputError],
    top: int,
    threshold: float | None,
) -> list[Item]:
    """Turn the outputs for the valid examples into one item for each example, in their order.

    Args:
        predicted: the outputs.
        problems: errors of the invalid examples by position.
        top: number of labels to list.
        threshold: lowest score of a label; None uses the contract's.
    """
    contract, outputs = predicted.contract, predicted.outputs
    if contract.task != "classification" and threshold is not None:
        got = "a regression" if contract.task == "regression" else "a model without labels"
        raise InvalidInputError("threshold", expected="a classification", got=got)
    good: Sequence[Item]
    if contract.task == "tensors":
        good = to_rows(predicted.named)
    elif contract.task == "regression":
        good = to_values(outputs)
    else:
        lowest = contract.threshold if threshold is None else threshold
        labeled = label_probabilities(outputs, contract.labels, top, lowest)
        images = predicted.inputs
        if isinstance(contract.input, ImageInput) and isinstance(images, np.ndarray):
            for index, item in enumerate(labeled):
                if item.label is None and not np.any(images[index]):
                    reason = "not sure: nothing is drawn on the image"
                    labeled[index] = msgspec.structs.replace(item, reason=reason)
        good = labeled
    if not problems:
        return list(good)
    rest: Iterator[Item] = iter(good)
    return [
        _failed(problems[index]) if index in problems else next(rest)
        for index in range(len(good) + len(problems))
    ]


def as_json(
    model: str,
    predicted: Predicted,
    items: Sequence[Item],
    adjusted: Mapping[int, Adjustments],
    *,
    full: bool,
) -> bytes:
    """Write `{"model", "version", "predictions": [item, …]}`.

    Args:
        model: name.
        predicted: the model's answer.
        items: one per example.
        adjusted: adjustments of rows by position. Items get the members "imputed" and "other", the
            document gets "ignored".
        full: add the task; for a classification, the labels in the model's order and their
            probabilities in each item; for tensors, their dtypes.
    """
    contract = predicted.contract
    document: dict[str, Any] = {"model": model, "version": contract.version, "predictions": items}
    if full:
        document["task"] = contract.task
        if contract.task == "classification":
            document["labels"] = contract.labels
            rows = iter(predicted.outputs.tolist())
            items = [
                item
                if isinstance(item, Failed)
                else msgspec.to_builtins(item) | {"probabilities": next(rows)}
                for item in items
            ]
        elif contract.task == "tensors":
            document["dtypes"] = {output.name: output.dtype for output in contract.outputs}
        document["predictions"] = items
    if adjusted:
        document["predictions"] = [
            _with_adjustments(item, adjusted.get(index)) for index, item in enumerate(items)
        ]
        ignored = [name for each in adjusted.values() for name in each.ignored]
        if ignored:
            document["ignored"] = list(dict.fromkeys(ignored))
    return msgspec.json.encode(document) + b"\n"


def as_csv(
    contract: Contract, items: Sequence[Item], top: int, adjusted: Mapping[int, Adjustments]
) -> str:
    """Write one row per example: its number, then labels and scores or the value, then the error.

    If rows were adjusted, a last column describes how.
    """
    if contract.task == "tensors":
        raise _json_only("text/csv", "")
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
        cells: list[str | float] = []
        problem = ""
        if isinstance(item, Value):
            cells = [item.value]
        elif isinstance(item, Failed):
            problem = item.error.detail
        elif isinstance(item, Prediction):
            cells = [cell for score in item.top for cell in (score.label, score.score)]
            if item.label is None:
                cells[0], problem = "", item.reason
        row = [index + 1, *cells, *[""] * (width - len(cells)), problem]
        writer.writerow([*row, _in_words(adjusted.get(index))] if adjusted else row)
    return stream.getvalue()


def as_npy(predicted: Predicted, problems: Mapping[int, InvalidInputError]) -> bytes:
    """Write the outputs as float32 [examples, labels]; rows of invalid examples are NaN."""
    outputs = predicted.outputs
    if predicted.named:
        outputs, *others = predicted.named.values()
        if others or outputs.dtype.kind not in "fiub":
            raise _json_only(NPY, f" ({', '.join(predicted.named)})")
    size = len(outputs) + len(problems)
    whole = np.full((size, *outputs.shape[1:]), np.nan, np.float32)
    whole[[index for index in range(size) if index not in problems]] = outputs
    stream = io.BytesIO()
    np.save(stream, whole, allow_pickle=False)
    return stream.getvalue()


def _json_only(got: str, names: str) -> InvalidInputError:
    return InvalidInputError(
        "Accept",
        expected=f"application/json, as this model answers tensors{names}",
        got=got,
        hint="POST /predict as JSON, or call the tensors: /v1, /v2, gRPC",
    )


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
    parts = [
        f"{name} imputed as {value if isinstance(value, str) else f'{value:g}'}"
        for name, value in adjusted.imputed.items()
    ]
    parts += [f"{name} {text!r} taken as other" for name, text in adjusted.other.items()]
    parts += [f"{name} ignored" for name in adjusted.ignored]
    return "; ".join(parts)


def _failed(error: InvalidInputError) -> Failed:
    return Failed(ExampleError(str(error), error.field, error.expected, error.got, error.hint))
