"""The services that a bulk run can ask: a gateway over HTTP, a model server over gRPC."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_client.bulk.adjustments import AdjustmentCounts
from rockstar_client.bulk.asking import Ask, reason_of
from rockstar_client.bulk.item import Answered, Failed, Outcome
from rockstar_client.errors import CallError, ServerError, call_error
from rockstar_client.examples import Example
from rockstar_client.gateway_api import Request, Steps
from rockstar_client.http import HttpClient
from rockstar_client.predictor import Predictor
from rockstar_client.tfserving import TFServingClient
from rockstar_contract.contract import Input, TableInput
from rockstar_contract.csv_rows import write_rows
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import prepare
from rockstar_contract.labels import Prediction, Score, Value, predictions, values
from rockstar_contract.tables import Adjustments, TextRow
from tfs_api.status import Code

# For a batch, not for an image.
_TIMEOUT_S = 60.0


_JSON = msgspec.json.Encoder()


class _Error(msgspec.Struct):
    field: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""


class _Each(msgspec.Struct):
    """Of a gateway's answer what it says of one example: a label, a value, or an error."""

    label: str | None = ""
    score: float = 0.0
    top: tuple[Score, ...] = ()
    reason: str = ""
    value: float | None = None
    imputed: dict[str, float | str] = {}
    other: dict[str, str] = {}
    error: _Error | None = None


class _Answer(msgspec.Struct):
    version: int
    predictions: list[_Each]
    ignored: list[str] = []


# Made once: msgspec reads a class at its first use, which crashes when threads do so together.
_ANSWER = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True)
class Served:
    """What is known of a model before it is asked.

    Attributes:
        model: name.
        newest: version; None where the service does not say.
        tables: whether it takes rows of tables, not images.
    """

    model: str
    newest: int | None = None
    tables: bool = False


def served_over_http(client: HttpClient, model: str | None) -> Served:
    """A model of a gateway; by None the only one.

    Raises:
        InvalidInputError: several are served, or none.
        CallError: the gateway cannot be asked.
    """
    try:
        listed = {each.model: each for each in client.models()}
    except CallError as error:
        if error.code not in (Code.INVALID_ARGUMENT, Code.NOT_FOUND):
            raise
        # The list of models cannot be asked for in a wrong way, except of something else.
        message = f"{error.message.rstrip('.')}: is that a RockstarTF gateway?"
        raise call_error(error.code, message, error.request_id) from error
    if model is None:
        if len(listed) != 1:
            got = f"{len(listed)} models: choose --model {' | '.join(listed)}"
            raise InvalidInputError("--model", expected="one", got=got)
        model = next(iter(listed))
    if model not in listed:
        # It may go by another name, or not be listed.
        return Served(model)
    info = listed[model]
    available = [each.version for each in info.versions if each.state == "AVAILABLE"]
    # Only tables have a column that is predicted.
    return Served(model, max(available, default=None), tables=info.target is not None)


def served_over_grpc(server: TFServingClient, model: str, version: int | None) -> Served:
    """A model of a model server.

    Raises:
        CallError: the server cannot be asked, or the model has no contract.
    """
    contract = server.contract(model, version)
    newest = contract.version if version is None else None
    return Served(model, newest, isinstance(contract.input, TableInput))


def over_http(
    client: HttpClient,
    model: str,
    *,
    version: int | None = None,
    top: int = 1,
    strict: bool = False,
    counts: AdjustmentCounts | None = None,
) -> Ask:
    """Predict with a gateway, which preprocesses the examples and reports bad ones.

    Args:
        client: of the gateway.
        model: name.
        version: None is the newest.
        top: number of labels to list.
        strict: whether rows that would need imputation are bad ones.
        counts: gets what was imputed and ignored in rows.
    """
    counts = AdjustmentCounts() if counts is None else counts
    query: dict[str, str | int] = {"top": top, "partial": "true"}
    query |= {} if version is None else {"version": version}
    query |= {"strict": "true"} if strict else {}
    path = f"/predict/{quote(model, safe='')}?{urlencode(query)}"

    def ask(examples: Sequence[Example]) -> Answered:
        return client.call(_asking(path, examples, counts), timeout=_TIMEOUT_S)

    return ask


def _asking(path: str, examples: Sequence[Example], counts: AdjustmentCounts) -> Steps[Answered]:
    rows = [example for example in examples if isinstance(example, TextRow)]
    if rows:
        content_type, body = "text/csv", write_rows(rows)
    else:
        # Bytes become base64. One document is less work for both sides than a form with many parts.
        instances = [{"b64": example} for example in examples]
        content_type, body = "application/json", _JSON.encode({"instances": instances})
    response = yield Request("POST", path, {"Content-Type": content_type}, body)
    try:
        document = _ANSWER.decode(response.body)
    except msgspec.DecodeError as error:
        raise ServerError(Code.UNKNOWN, f"that is not a gateway's answer: {error}") from error
    if len(document.predictions) != len(examples):
        got = f"{len(document.predictions)} answers to {len(examples)} examples"
        raise ServerError(Code.UNKNOWN, f"that is not a gateway's answer: {got}")
    answered = [each for each in document.predictions if each.error is None]
    ignored = document.ignored
    counts.add(len(answered), [Adjustments(each.imputed, each.other, ignored) for each in answered])
    return Answered(document.version, [_outcome(each) for each in document.predictions])


def _outcome(each: _Each) -> Outcome:
    if each.error is not None:
        error = each.error
        return Failed(reason_of(error.field, error.expected, error.got, error.hint))
    if each.value is not None:
        return Value(each.value)
    return Prediction(each.label, each.score, each.top, each.reason)


def over_grpc(
    server: TFServingClient,
    model: str,
    *,
    version: int | None = None,
    top: int = 1,
    strict: bool = False,
    counts: AdjustmentCounts | None = None,
) -> Ask:
    """Predict with a model server; examples are preprocessed here, and bad ones reported.

    See `over_http` for the arguments.
    """
    counts = AdjustmentCounts() if counts is None else counts
    predictor = Predictor(server)

    def ask(examples: Sequence[Example]) -> Answered:
        failed: dict[int, Failed] = {}
        adjusted: list[Adjustments] = []

        def batch(spec: Input) -> NDArray[Any]:
            # Perhaps once more, for another version.
            failed.clear()
            adjusted.clear()
            tensors = [_prepared(example, spec, strict, adjusted) for example in examples]
            good = [tensor for tensor in tensors if not isinstance(tensor, InvalidInputError)]
            bad = {n: each for n, each in enumerate(tensors) if isinstance(each, InvalidInputError)}
            if not good:
                raise bad[0]
            failed.update(
                (n, Failed(reason_of(e.field, e.expected, e.got, e.hint))) for n, e in bad.items()
            )
            return np.stack(good)

        answer = predictor.predict(model, batch, version=version, timeout=_TIMEOUT_S)
        counts.add(len(examples) - len(failed), adjusted)
        contract = answer.contract
        good: list[Prediction] | list[Value] = (
            values(answer.outputs)
            if contract.task == "regression"
            else predictions(answer.outputs, contract.labels, top, contract.threshold)
        )
        rest: Iterator[Prediction | Value] = iter(good)
        places = range(len(examples))
        return Answered(contract.version, [failed.get(n) or next(rest) for n in places])

    return ask


def _prepared(
    example: Example, spec: Input, strict: bool, adjusted: list[Adjustments]
) -> NDArray[Any] | InvalidInputError:
    changes = Adjustments()
    try:
        tensor = prepare(example, spec, field="item", strict=strict, adjusted=changes)
    except InvalidInputError as error:
        return error
    adjusted.append(changes)
    return tensor
