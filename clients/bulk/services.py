"""The services that a bulk run can ask: a gateway over HTTP, a model server over gRPC."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from clients.bulk.asking import Ask, reason_of
from clients.bulk.item import Answered, Failed, Outcome
from clients.examples import Example
from clients.http import HttpClient
from clients.predictor import Predictor
from clients.tfserving import TFServingClient
from serving.contract import Input, TableInput
from serving.errors import InvalidInputError
from serving.inputs import prepare
from serving.labels import Prediction, Value, predictions, values

# For a batch, not for an image.
_TIMEOUT_S = 60.0


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
    listed = {each["model"]: each for each in client.models()}
    if model is None:
        if len(listed) != 1:
            got = f"{len(listed)} models: choose {' | '.join(listed)}" if listed else "no models"
            raise InvalidInputError("--model", expected="one", got=got)
        model = next(iter(listed))
    # It may go by another name there, or not be listed.
    found = listed.get(model, {})
    available = [v["version"] for v in found.get("versions", ()) if v["state"] == "AVAILABLE"]
    tables = "columns" in found.get("input", {})
    return Served(model, max(available, default=None), tables)


def served_over_grpc(server: TFServingClient, model: str, version: int | None) -> Served:
    """A model of a model server.

    Raises:
        CallError: the server cannot be asked, or the model has no contract.
    """
    contract = server.contract(model, version)
    newest = contract.version if version is None else None
    return Served(model, newest, isinstance(contract.input, TableInput))


def over_http(client: HttpClient, model: str, *, version: int | None, top: int) -> Ask:
    """Ask a gateway, which prepares the examples and sets bad ones aside."""

    def ask(examples: Sequence[Example]) -> Answered:
        document = client.predict_each(
            model, examples, version=version, top=top, timeout=_TIMEOUT_S
        )
        return Answered(document["version"], [_outcome(each) for each in document["predictions"]])

    return ask


def _outcome(answer: dict[str, Any]) -> Outcome:
    if "error" in answer:
        error = answer["error"]
        return Failed(
            reason_of(error["field"], error["expected"], error["got"], error.get("hint", ""))
        )
    if "value" in answer:
        return Value(answer["value"])
    return msgspec.convert(answer, Prediction)


def over_grpc(server: TFServingClient, model: str, *, version: int | None, top: int) -> Ask:
    """Ask a model server; the examples are prepared here, and bad ones set aside."""
    predictor = Predictor(server)

    def ask(examples: Sequence[Example]) -> Answered:
        failed: dict[int, Failed] = {}

        def batch(spec: Input) -> NDArray[Any]:
            # Perhaps once more, for another version.
            failed.clear()
            tensors = [_prepared(example, spec) for example in examples]
            good = [tensor for tensor in tensors if not isinstance(tensor, InvalidInputError)]
            bad = {n: each for n, each in enumerate(tensors) if isinstance(each, InvalidInputError)}
            if not good:
                raise bad[0]
            failed.update(
                (n, Failed(reason_of(e.field, e.expected, e.got, e.hint))) for n, e in bad.items()
            )
            return np.stack(good)

        answer = predictor.predict(model, batch, version=version, timeout=_TIMEOUT_S)
        contract = answer.contract
        good: list[Prediction] | list[Value] = (
            values(answer.outputs)
            if contract.task == "regression"
            else predictions(answer.outputs, contract.labels, top)
        )
        rest: Iterator[Prediction | Value] = iter(good)
        places = range(len(examples))
        return Answered(contract.version, [failed.get(n) or next(rest) for n in places])

    return ask


def _prepared(example: Example, spec: Input) -> NDArray[Any] | InvalidInputError:
    try:
        return prepare(example, spec, field="item")
    except InvalidInputError as error:
        return error
