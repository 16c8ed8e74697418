"""The gateway's own API: `POST /predict/<model>` and `GET /v1/models`, and URL arguments."""

import copy
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import numpy as np
from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue

from rockstar_client.backend import Query
from rockstar_client.errors import InvalidRequestError, NoContractError, NotFoundError
from rockstar_client.predictor import ModelInputs, Steps
from rockstar_contract.contract import Input, TableInput, TensorInput
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.inputs import is_batch, read_tensors, split_batch, stack
from rockstar_contract.tables import Adjustments
from rockstar_serving.gateway.answers import (
    CSV,
    NPY,
    accepted_type,
    accepts_json,
    as_csv,
    as_json,
    as_npy,
    postprocess,
)
from rockstar_serving.gateway.api import Api, respond
from rockstar_serving.gateway.bodies import NamedExample, read_examples, require_few
from rockstar_serving.gateway.context import RequestContext, context
from rockstar_serving.gateway.errors import HttpResponse, ProblemError, not_found, send_tensors
from rockstar_serving.gateway.receiving import prepare_in_turn
from rockstar_serving.gateway.state import Gateway, gateway
from tfs_api.model_ref import whole_number
from tfs_api.status import Code

ROUTE = "/predict/<model>"
DEFAULT_TOP = 3
# How long preprocessing may occupy the event loop.
_TURN_S = 0.005

Arguments = Mapping[str, str]

_blueprint = Blueprint("predict", __name__)


@_blueprint.post(ROUTE)
def predict_view(model: str) -> Response:
    """See predict()."""
    return respond(predict(model), gateway().predictor)


def predict(model: str) -> Steps[HttpResponse]:
    """Predict the examples in the body of the current request.

    Arguments of the URL:
        version, label: pick a version.
        top: number of labels to list.
        threshold: lowest score of a label.
        partial: if true, invalid examples get errors beside the predictions of the valid ones.
        strict: if true, rows must have exactly the model's columns.
        full: if true, JSON has the probability of every label in the model's order.

    `Accept` picks JSON, CSV or .npy.
    """
    given = arguments("version", "label", "top", "threshold", "partial", "strict", "full")
    version, label = version_or_label(given)
    top, threshold = positive(given.get("top"), "top"), _share(given, "threshold")
    partial, strict, full = (_flag(given, name) for name in ("partial", "strict", "full"))
    here, current = gateway(), context()
    accept = current.header("accept")
    accepted = accepted_type(accept)
    # A CSV table has columns for each listed label: only the best one by default.
    top = top or (1 if accepted == CSV else DEFAULT_TOP)
    current.model = model
    with current.phase("preprocess"):
        examples = read_examples(current, here.config)

    def new_batch(current: RequestContext | None) -> Batch:
        return Batch(examples, here, current, partial=partial, strict=strict)

    batch = new_batch(current)
    try:
        predicted = yield from here.predictor.predict(
            current,
            batch.prepare,
            version=version,
            label=label,
            examples=batch.sent,
            prepare_copy=lambda spec: new_batch(None).prepare(spec),
        )
    except NotFoundError as error:
        raise (yield from not_found(model, version, label)) from error
    except InvalidRequestError as error:
        if batch.is_unchanged and error.code in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE):
            # The model refused the caller's values, such as an index out of range.
            raise ProblemError(HTTPStatus.BAD_REQUEST, error.message, error.code) from error
        raise
    current.instances = batch.size
    contract = predicted.contract
    with current.phase("postprocess"):
        # CSV and .npy have no place for the version.
        headers = {"X-Model-Version": str(contract.version)}
        if accepted == NPY and not (contract.task == "tensors" and accepts_json(accept)):
            return HttpResponse(as_npy(predicted, batch.problems), NPY, headers=headers)
        items = postprocess(predicted, batch.problems, top, threshold)
        if accepted == CSV:
            table = as_csv(contract, items, top, batch.adjusted)
            return HttpResponse(table.encode(), f"{CSV}; charset=utf-8", headers=headers)
        document = as_json(model, predicted, items, batch.adjusted, full=full)
        return HttpResponse(document)


@dataclass(eq=False)
class Batch:
    """The examples of a request, preprocessed as a batch for what a contract describes.

    Attributes:
        examples: as they were sent.
        here: limits.
        current: the request; None for a copy, which is prepared after the request.
        partial: collect the errors of invalid examples instead of raising them.
        strict: reject rows with missing values, unknown categories or other columns.
        problems: errors of invalid examples by position; empty unless partial.
        adjusted: adjustments of rows by position.
        size: number of examples, with invalid ones.
        sent: the examples without their names.
        is_unchanged: whether the model takes them as they were sent, without preprocessing.
    """

    examples: list[NamedExample]
    here: Gateway
    current: RequestContext | None
    _: KW_ONLY
    partial: bool
    strict: bool = False

    def __post_init__(self) -> None:
        self.problems: dict[int, InvalidInputError] = {}
        self.adjusted: dict[int, Adjustments] = {}
        self.is_unchanged = False
        self.size = len(self.examples)
        self.sent: list[Any] = [named.example for named in self.examples]

    def prepare(self, spec: Input) -> ModelInputs:
        """Preprocess the valid examples; may be called again for another contract.

        Returns:
            float32 [n, *spec.shape]; for a model of tensors, arrays [n, …] by name.

        Raises:
            DeadlineExceededError: the request's time is over.
            InvalidInputError: an example is invalid; if partial, only if all are.
            TooLargeError: also if it takes too long for the event loop.
        """
        began = time.monotonic()
        is_tensors, is_table = isinstance(spec, TensorInput), isinstance(spec, TableInput)
        examples = self.examples if is_tensors else list(self._split(spec))
        if len(examples) > self.size:
            require_few(len(examples), self.here.config)
        self.problems, self.adjusted, self.size = {}, {}, len(examples)
        self.is_unchanged = is_tensors
        rows: list[Any] = []
        fields = []
        for index, named in enumerate(examples):
            adjusted = Adjustments() if is_table else None
            if index:
                self._require_time(began)
            try:
                example: Any
                if is_tensors and named.value is not None:
                    self.sent[index] = example = named.value
                else:
                    example = named.get()
                if isinstance(spec, TensorInput):
                    rows.append(read_tensors(example, spec, named.field))
                else:
                    tensor = prepare_in_turn(
                        self.here,
                        self.current,
                        example,
                        spec,
                        named.field,
                        strict=self.strict,
                        adjusted=adjusted,
                    )
                    rows.append(tensor)
            except InvalidInputError as error:
                is_for_thread = self.here.is_event_loop and isinstance(error, TooLargeError)
                if is_for_thread or not self.partial:
                    raise
                self.problems[index] = copy.copy(error)  # without its traceback, which keeps this
                continue
            fields.append(named.field)
            if adjusted:
                self.adjusted[index] = adjusted
        if not rows:
            raise copy.copy(self.problems[0])
        if is_tensors:
            return stack(rows, fields)
        return rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows)

    def _require_time(self, began: float) -> None:
        """Stop between two examples if there is no time for more."""
        if self.here.is_event_loop and time.monotonic() - began > _TURN_S:
            raise TooLargeError("body", expected="work for a moment", got="more")
        if self.current is not None:
            self.current.time_left()

    def _split(self, spec: Input) -> Iterator[NamedExample]:
        """Split arrays from files that are batches of examples; their shape shows it."""
        for named in self.examples:
            example = named.example
            if not isinstance(example, np.ndarray) or not is_batch(example, spec):
                yield named
                continue
            # A file of a few bytes can hold any number of empty rows.
            require_few(len(example), self.here.config)
            for field, row in split_batch(example, named.field):
                yield NamedExample(field, row)


@_blueprint.get("/v1/models")
def list_models() -> ResponseReturnValue:
    """List the served models: versions, states, and the newest one's inputs and outputs.

    Callers see the models of their key.
    """
    here = gateway()
    return jsonify(models=[_describe(model) for model in here.visible(here.served.names)])


def _describe(model: str) -> dict[str, Any]:
    backend = gateway().backend
    try:
        states = backend.status(Query(model, timeout=context().time_left()))
    except NotFoundError:
        return {"model": model, "versions": []}
    versions = [
        {"version": state.version, "state": state.state}
        | ({"error": state.error} if state.error else {})
        for state in states
    ]
    described: dict[str, Any] = {"model": model, "versions": versions}
    if not any(state.state == "AVAILABLE" for state in states):
        return described
    try:
        contract = backend.contract(Query(model, timeout=context().time_left()))
    except NoContractError:
        described["problem"] = (
            f"it has no contract: rockstar import publishes one with it; until then "
            f"{send_tensors(model)}"
        )
        return described
    spec: dict[str, Any] = msgspec.to_builtins(contract.input)
    spec.pop("preprocessing", None)  # an internal of the gateway
    return described | {
        "task": contract.task,
        "labels": contract.labels,
        "target": contract.target,
        "input": spec,
        "outputs": contract.outputs,
        "metrics": contract.metrics,
        "confusion": contract.confusion,
        "created": contract.created.isoformat(),
    }


def arguments(*names: str) -> Arguments:
    """The arguments of the current URL. Raises InvalidInputError for repeated and other names."""
    query = context().query
    if not query:
        return {}
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace")
    given = dict(pairs)
    unknown = sorted(given.keys() - set(names))
    if unknown:
        raise InvalidInputError(unknown[0], expected=" or ".join(names), got=unknown[0])
    if len(given) < len(pairs):
        name, count = Counter(name for name, _ in pairs).most_common(1)[0]
        raise InvalidInputError(name, expected="one value in the URL", got=f"{count} values")
    return given


def version_or_label(given: Arguments) -> tuple[int | None, str | None]:
    """The arguments `version` and `label`; neither: the newest. Raises InvalidInputError."""
    version, label = positive(given.get("version"), "version"), given.get("label")
    if label == "":
        raise InvalidInputError("label", expected="the name of a label", got="nothing")
    if label is not None and version is not None:
        raise InvalidInputError("label", expected="a version or a label", got="both")
    return version, label


def positive(text: str | None, name: str) -> int | None:
    """Parse a whole number from 1 in a URL; None if it is not given. Raises InvalidInputError."""
    if text is None:
        return None
    number = whole_number(text)
    if not number:
        raise InvalidInputError(name, expected="a whole number from 1", got=repr(text[:40]))
    return number


def _share(given: Arguments, name: str) -> float | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InvalidInputError(name, expected="a number from 0 to 1", got=repr(text[:40]))
    return value


def _flag(given: Arguments, name: str) -> bool:
    text = given.get(name, "false").lower()
    if text not in ("true", "false"):
        raise InvalidInputError(name, expected="true or false", got=repr(text[:40]))
    return text == "true"


API = Api("predict", _blueprint)
