"""Predict one batch with a gateway over HTTP or a model server over gRPC.

`over_http` and `over_backend` make a function that predicts a batch with one request. `BatchClient`
adds retries, and halves a batch that fails to find the items that cause it.
"""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_client.backend import PredictBackend, Query
from rockstar_client.bulk import DEFAULT_PACE
from rockstar_client.bulk.items import BatchResult, Failed, Item, Outcome, Result
from rockstar_client.errors import (
    CallError,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    ServerError,
    UnavailableError,
    call_error,
)
from rockstar_client.examples import Example
from rockstar_client.gateway_api import ErrorMembers, Request, Steps, path_to, read_predictions
from rockstar_client.http import HttpClient
from rockstar_client.predictor import Predictor
from rockstar_client.tfserving import TFServingClient
from rockstar_contract.contract import (
    Input,
    Prediction,
    TableInput,
    Value,
    label_probabilities,
    to_values,
)
from rockstar_contract.csv_rows import write_rows
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import prepare
from rockstar_contract.tables import Adjustments, TextRow
from tfs_api.status import Code

# Predicts examples of one kind with one request, from any thread. Raises CallError if the whole
# request fails.
PredictBatch = Callable[[Sequence[Example]], BatchResult]

# Of a batch; longer than the default for a single image.
_TIMEOUT_S = 60.0

_FIRST_PAUSE_S = 0.1
_MAX_PAUSE_S = 5.0
# Searching a batch for the items that a server fails on may take this many times the patience.
_SEARCH_FACTOR = 3

# These errors concern every batch; no item causes them.
_FATAL = (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED)

# The position of an example in a request, as a gateway (or `over_backend`) names it.
_POSITION = re.compile(r"^(instances\[\d+\](\.b64)?|body row \d+|item)(\.|\b)")

_JSON = msgspec.json.Encoder()


class Stopped(Exception):  # noqa: N818
    """The run is being stopped; requests are not retried."""


class BatchClient:
    """Predicts batches of items; thread-safe."""

    def __init__(
        self,
        predict: PredictBatch,
        *,
        patience: float = DEFAULT_PACE.patience,
        on_too_many: Callable[[int], None] = lambda _fewer: None,
    ) -> None:
        """Store the function that sends a request, and the seconds to retry it.

        `on_too_many` is called with a number of examples that succeeded after a request with more
        was rejected or timed out.
        """
        self._predict = predict
        self._patience = patience
        self._on_too_many = on_too_many
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop waiting and retrying, in all threads."""
        self._stopping.set()

    def predict(self, batch: Sequence[Item]) -> list[Result]:
        """Predict items of one kind.

        Raises:
            CallError: the service cannot be used, or fails on the whole batch.
            Stopped: `stop` was called.
        """
        examples: list[Example] = []
        unreadable: dict[int, tuple[int, Outcome]] = {}
        for position, item in enumerate(batch):
            try:
                examples.append(item.read())
            except InvalidInputError as error:
                unreadable[position] = (0, Failed(_reason(error)))
        started = time.monotonic()
        sizes: list[int] = []  # of the requests that succeeded
        broken: list[CallError] = []  # errors of single examples that the server failed on

        def search(examples: list[Example]) -> list[tuple[int, Outcome]]:
            """Predict examples; halve a failing batch until the items that cause it are found."""
            try:
                version, outcomes = self._retry(examples)
                sizes.append(len(examples))
                return [(0 if isinstance(each, Failed) else version, each) for each in outcomes]
            except InvalidInputError as error:
                cause: Exception = error
            except InvalidRequestError as error:
                if error.code in _FATAL:
                    raise
                cause = error
            except (ServerError, DeadlineExceededError) as error:
                if time.monotonic() - started > _SEARCH_FACTOR * self._patience:
                    raise
                cause = error
                if len(examples) == 1:
                    broken.append(error)
            if len(examples) == 1:
                return [(0, Failed(_reason(cause, examples[0])))]
            half = len(examples) // 2
            return search(examples[:half]) + search(examples[half:])

        found = search(examples) if examples else []
        if broken and len(broken) == len(examples):
            # The server is broken, not the items.
            raise broken[0]
        if len(sizes) > 1 and not any(isinstance(outcome, Failed) for _, outcome in found):
            self._on_too_many(max(sizes))
        rest = iter(found)
        return [Result(item, *(unreadable.get(n) or next(rest))) for n, item in enumerate(batch)]

    def _retry(self, examples: list[Example]) -> BatchResult:
        started, pause = time.monotonic(), _FIRST_PAUSE_S
        while True:
            if self._stopping.is_set():
                raise Stopped
            try:
                return self._predict(examples)
            except (OverloadedError, UnavailableError) as error:
                pause = max(pause, error.retry_after or 0)
                if time.monotonic() - started + pause > self._patience:
                    raise
            # Jitter spreads the retries of batches that failed together.
            self._stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(2 * pause, _MAX_PAUSE_S)


class AdjustmentCounts:
    """Counts rows with imputed, unknown or ignored columns; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows = 0
        self._imputed, self._other, self._ignored = (Counter[str]() for _ in range(3))

    @property
    def totals(self) -> tuple[int, tuple[Counter[str], ...]]:
        """The number of rows, and of rows by column for each kind of adjustment; for `merge`."""
        return self._rows, (self._imputed, self._other, self._ignored)

    def merge(self, totals: tuple[int, tuple[Counter[str], ...]]) -> None:
        """Add the totals of another process."""
        with self._lock:
            self._rows += totals[0]
            for kind, counted in zip(self.totals[1], totals[1], strict=True):
                kind.update(counted)

    def add(self, rows: int, adjusted: Collection[Adjustments]) -> None:
        """Count a batch of `rows` rows and the adjustments of those that were adjusted."""
        with self._lock:
            self._rows += rows
            for each in adjusted:
                self._imputed.update([*each.imputed])
                self._other.update([*each.other])
                self._ignored.update(each.ignored)

    def summary(self) -> str:
        """A sentence per kind of adjustment; empty if nothing was adjusted."""

        def in_rows(columns: Counter[str]) -> str:
            counts = columns.most_common()
            return ", ".join(f"{name} in {n:,} of {self._rows:,} rows" for name, n in counts)

        kinds = [
            ("Imputed", in_rows(self._imputed)),
            ("Unknown categories taken as other", in_rows(self._other)),
            ("Ignored columns", ", ".join(self._ignored)),
        ]
        return " ".join(f"{kind}: {columns}." for kind, columns in kinds if columns)


@dataclass(frozen=True)
class ServedModel:
    """A model that a service serves, its newest version if known, and whether it takes rows."""

    model: str
    newest: int | None = None
    tables: bool = False


def find_over_http(client: HttpClient, model: str | None) -> ServedModel:
    """Look up a model of a gateway; None means the only one, else raise an InvalidInputError."""
    try:
        listed = {each.model: each for each in client.models()}
    except CallError as error:
        if error.code not in (Code.INVALID_ARGUMENT, Code.NOT_FOUND):
            raise
        # A gateway never answers a request for its models like this.
        message = f"{error.message.rstrip('.')}: is that a RockstarTF gateway?"
        raise call_error(error.code, message, error.request_id) from error
    if model is None:
        if len(listed) != 1:
            got = "several models are served" if listed else "no model is served"
            hint = f"choose --model {' | '.join(listed)}" if listed else ""
            raise InvalidInputError("--model", expected="one", got=got, hint=hint, summary=got)
        model = next(iter(listed))
    if model not in listed:
        # It may be an alias, or not be listed.
        return ServedModel(model)
    info = listed[model]
    available = [each.version for each in info.versions if each.state == "AVAILABLE"]
    # Only models of tables have a target column.
    return ServedModel(model, max(available, default=None), tables=info.target is not None)


def find_over_grpc(server: TFServingClient, model: str, version: int | None) -> ServedModel:
    """Look up a model of a model server."""
    contract = server.contract(Query(model, version=version))
    newest = contract.version if version is None else None
    return ServedModel(model, newest, isinstance(contract.input, TableInput))


def _reason(error: Exception | ErrorMembers, example: Example | None = None) -> str:
    """Describe what is wrong with an item, without its name but with the column of a row."""
    if isinstance(error, (InvalidInputError, ErrorMembers)) or (
        isinstance(error, InvalidRequestError) and error.expected
    ):
        column = _POSITION.sub("", error.field) if _POSITION.match(error.field) else ""
        place, hint = f"{column}: " if column else "", f"; {error.hint}" if error.hint else ""
        if isinstance(error, InvalidRequestError) and error.hint not in error.message:
            hint = ""  # the gateway's default, which is for callers of its API
        if isinstance(example, TextRow) and error.got.startswith("an unknown column"):
            # The gateway does not know how the file was read.
            hint += f"; {example.hint}" if example.hint and example.hint not in hint else ""
        return f"{place}expected {error.expected}, got {error.got}{hint}"
    return _POSITION.sub("", str(error)).removeprefix(": ")


def over_http(
    client: HttpClient,
    model: str,
    *,
    version: int | None = None,
    top: int = 1,
    strict: bool = False,
    counts: AdjustmentCounts | None = None,
) -> PredictBatch:
    """Make a function that predicts with a gateway, which preprocesses and validates examples.

    Args:
        client: of the gateway.
        model: name.
        version: None means the newest.
        top: number of labels to list.
        strict: whether rows that need imputation fail.
        counts: collects what was imputed and ignored in rows.
    """
    exact = "true" if strict else None
    path = path_to("predict", model, top=top, partial="true", version=version, strict=exact)

    def steps(examples: Sequence[Example]) -> Steps[BatchResult]:
        rows = [example for example in examples if isinstance(example, TextRow)]
        if rows:
            content_type, body = "text/csv", write_rows(rows)
        else:
            # Bytes become base64. One document costs both sides less than a form of many parts.
            instances = [{"b64": each} if isinstance(each, bytes) else each for each in examples]
            content_type, body = "application/json", _JSON.encode({"instances": instances})
        response = yield Request("POST", path, {"Content-Type": content_type}, body)
        answer, items = read_predictions(response)
        if len(items) != len(examples):
            got = f"{len(items)} answers to {len(examples)} examples"
            raise ServerError(Code.UNKNOWN, f"this is not a gateway's response: {got}")
        outcomes: list[Outcome] = []
        adjusted: list[Adjustments] = []
        for each, example in zip(items, examples, strict=True):
            if each.error is not None:
                outcomes.append(Failed(_reason(each.error, example)))
                continue
            adjusted.append(Adjustments(each.imputed, each.other, answer.ignored))
            outcomes.append(each.prediction() if each.value is None else Value(each.value))
        if counts is not None:
            counts.add(len(adjusted), adjusted)
        return BatchResult(answer.version, outcomes)

    return lambda examples: client.call(steps(examples), timeout=_TIMEOUT_S)


def over_backend(
    backend: PredictBackend,
    model: str,
    *,
    version: int | None = None,
    top: int = 1,
    strict: bool = False,
    counts: AdjustmentCounts | None = None,
) -> PredictBatch:
    """Make a function that predicts with a model server or a model, and preprocesses locally.

    See `over_http` for the arguments.
    """
    predictor = Predictor(backend)

    def predict(examples: Sequence[Example]) -> BatchResult:
        failed: dict[int, Failed] = {}
        adjusted: list[Adjustments] = []

        def batch(spec: Input) -> NDArray[Any]:
            # Called again if another version answers.
            failed.clear()
            adjusted.clear()
            tensors: list[NDArray[Any]] = []
            for position, example in enumerate(examples):
                changes = Adjustments()
                try:
                    tensors.append(
                        prepare(example, spec, field="item", strict=strict, adjusted=changes)
                    )
                except InvalidInputError as error:
                    failed[position] = Failed(_reason(error))
                    if len(failed) == len(examples):
                        raise
                else:
                    adjusted.append(changes)
            return np.stack(tensors)

        answer = predictor.predict(Query(model, version=version, timeout=_TIMEOUT_S), batch)
        if counts is not None:
            counts.add(len(adjusted), adjusted)
        contract = answer.contract
        rest: Iterator[Prediction | Value] = iter(
            to_values(answer.outputs)
            if contract.task == "regression"
            else label_probabilities(answer.outputs, contract.labels, top, contract.threshold)
        )
        outcomes = [failed.get(position) or next(rest) for position in range(len(examples))]
        return BatchResult(contract.version, outcomes)

    return predict
