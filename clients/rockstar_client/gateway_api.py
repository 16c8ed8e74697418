"""The gateway's HTTP API without I/O: requests, responses and errors, for every transport.

Each call is a generator of requests: see `rockstar_client.calls.run`.
"""

import base64
import io
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import numpy as np
from google.protobuf import json_format
from urllib3.exceptions import InvalidHeader
from urllib3.filepost import encode_multipart_formdata
from urllib3.util import Retry

from rockstar_client.backend import Query
from rockstar_client.calls import Deadline
from rockstar_client.errors import (
    CallError,
    InvalidRequestError,
    ServerError,
    UnreadableExampleError,
    call_error,
    invalid_request,
)
from rockstar_client.examples import (
    Example,
    ExampleLike,
    Inputs,
    NamedExample,
    named_examples,
    require_clear,
)
from rockstar_client.results import (
    Answer,
    Explanation,
    ModelInfo,
    ModelMetadata,
    RowExplanation,
    classification,
    signatures_of,
)
from rockstar_contract import contract as contracts
from rockstar_contract.contract import Contract, Prediction, Score, Task, Value
from rockstar_contract.csv_rows import write_rows
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import from_json
from rockstar_contract.tables import Adjustments, TextRow
from tfs_api.messages.prediction_pb2 import SignatureDefMap
from tfs_api.status import HTTP_STATUS, Code

# The header with a request's timeout in seconds.
TIMEOUT_HEADER = "X-Request-Timeout"
_JSON, _FILE = "application/json", "application/octet-stream"
_CONTRACT_QUERY = json.dumps(
    {"signature_name": contracts.CONTRACT_SIGNATURE, "instances": [{contracts.CONTRACT_INPUT: 0}]}
).encode()
# The first code of each HTTP status; where several share one, the general one comes first.
_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())}
_PHRASES = {int(status): status.phrase for status in HTTPStatus}
# Statuses of a proxy that does not reach the gateway.
_FROM_PROXIES = (502, 503, 504)
# The gateway's names of an example: of the whole body, in a form, in JSON, in CSV (from 1).
_PLACE = re.compile(r"body row (\d+)|inputs\[(\d+)\] \(\d+\)|instances\[(\d+)\](?:\.b64)?|body\b")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Request:
    """A request to the gateway."""

    method: str
    path: str  # with its query
    headers: Mapping[str, str] = field(default_factory=dict)  # besides those of every request
    body: bytes = b""
    once: bool = False  # never retry


@dataclass(frozen=True)
class Response:
    """A response of the gateway: its headers by name in lower case, its body decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Steps = Generator[Request, Response, Result]


class ErrorMembers(msgspec.Struct):
    """What is wrong with an example."""

    field: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""


class _Score(msgspec.Struct):
    label: str
    score: float | None


class ExampleAnswer(msgspec.Struct):
    """The answer for one example: a label, a value or an error; NaN is null."""

    label: str | None = None
    score: float | None = None
    top: tuple[_Score, ...] = ()
    reason: str = ""
    probabilities: list[float | None] = []
    value: float | None = None
    imputed: dict[str, float | str] = {}
    other: dict[str, str] = {}
    error: ErrorMembers | None = None

    def prediction(self) -> Prediction:
        """The prediction of a classification."""
        top = tuple([Score(each.label, _number(each.score)) for each in self.top])
        return Prediction(self.label, _number(self.score), top, self.reason)


class PredictAnswer(msgspec.Struct):
    """A response to `/predict`; labels, task and dtypes are those of a full one."""

    version: int
    predictions: msgspec.Raw
    task: Task | Literal[""] = ""
    labels: tuple[str, ...] = ()
    dtypes: dict[str, str] = {}
    ignored: list[str] = []


class _Models(msgspec.Struct):
    models: tuple[ModelInfo, ...]


# Created once: msgspec inspects a class at its first use, which crashes in concurrent threads.
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_MODELS = msgspec.json.Decoder(_Models)
_PREDICT_ANSWER = msgspec.json.Decoder(PredictAnswer)
_EXAMPLE_ANSWERS = msgspec.json.Decoder(list[ExampleAnswer])
_EXPLANATION = msgspec.json.Decoder(Explanation)
_ROW_EXPLANATION = msgspec.json.Decoder(RowExplanation)


# Deadlines are for gRPC, where a call may take several requests; here they are in every request.
def predict(
    query: Query, inputs: Inputs, top: int, strict: bool, _deadline: Deadline
) -> Steps[Answer]:
    """Predict inputs with one request."""
    model, version, label = query.model, query.version, query.label
    require_clear(model, version, label, top)
    try:
        examples = named_examples(inputs)
        content_type, body = _encode(examples)
    except InvalidInputError as error:
        raise invalid_request(error) from error
    options = {"version": version, "label": label, "top": top, "strict": "true" if strict else None}
    path = path_to("predict", model, **options, full="true")
    headers = {"Content-Type": content_type, "Accept": _JSON}
    try:
        response = yield Request("POST", path, headers, body)
    except InvalidRequestError as error:
        raise _renamed(error, examples) from error
    return _answer(model, response)


def path_to(route: str, model: str, **arguments: str | int | None) -> str:
    """The path of a request with its query; arguments that are None are left out."""
    given = urlencode({name: value for name, value in arguments.items() if value is not None})
    return f"/{route}/{quote(model, safe='')}" + (given and f"?{given}")


def models(_deadline: Deadline) -> Steps[tuple[ModelInfo, ...]]:
    """List the models that are served."""
    response = yield Request("GET", "/v1/models")
    return _decode(response.body, _MODELS, "its list of models cannot be read").models


def metadata(query: Query, _deadline: Deadline) -> Steps[ModelMetadata]:
    """Read the signatures and the contract of a version."""
    model, version, label = query.model, query.version, query.label
    require_clear(model, version, label)
    response = yield Request("GET", f"{_path(model, version, label)}/metadata")
    document = _decode(response.body, _ANY, "its metadata cannot be read")
    try:
        answered = int(document["model_spec"]["version"])
        described = json_format.ParseDict(
            document["metadata"]["signature_def"], SignatureDefMap(), ignore_unknown_fields=True
        )
        signatures = signatures_of(described.signature_def)
    except (KeyError, TypeError, ValueError, json_format.ParseError) as error:
        raise _not_a_gateway(f"its metadata cannot be read ({error})") from error
    if contracts.CONTRACT_SIGNATURE not in signatures:
        return ModelMetadata(model, answered, signatures, None)
    path = f"{_path(model, answered, None)}:predict"
    response = yield Request("POST", path, {"Content-Type": _JSON}, _CONTRACT_QUERY)
    document = _decode(response.body, _ANY, "its contract cannot be read")
    try:
        contract = Contract.from_json(document["predictions"][0])
    except (KeyError, IndexError, TypeError, contracts.ContractError) as error:
        message = f"the contract of model {model} cannot be read: {error}"
        raise ServerError(Code.INTERNAL, message) from error
    contract = msgspec.structs.replace(contract, version=answered)
    return ModelMetadata(model, answered, signatures, contract)


def ready(_deadline: Deadline) -> Steps[bool]:
    """Check whether every model is ready; False also if the gateway cannot be reached."""
    try:
        yield Request("GET", "/readyz", once=True)
    except CallError:
        return False
    return True


def explain(
    model: str, example: ExampleLike, version: int | None, of: str | None
) -> Steps[Explanation | RowExplanation]:
    """Find what supports an answer: pixels of an image, or columns of a row."""
    require_clear(model, version, None)
    try:
        examples = named_examples(example)
        if len(examples) > 1:
            raise InvalidInputError("inputs", expected="one example", got=str(len(examples)))
        kind, body = _encode(examples)
    except InvalidInputError as error:
        raise invalid_request(error) from error
    try:
        response = yield _explain(model, body, kind, version, of)
    except InvalidRequestError as error:
        raise _renamed(error, examples) from error
    if isinstance(examples[0].example, Mapping):
        return _decode(response.body, _ROW_EXPLANATION, "no explanation")
    return _decode(response.body, _EXPLANATION, "no explanation")


def explanation_picture(
    model: str, image: bytes, version: int | None, of: str | None
) -> Steps[bytes]:
    """Draw an explanation as a PNG: the image, with the pixels that support the label in color."""
    return (yield _explain(model, image, _FILE, version, of, "image/png")).body


def _explain(
    model: str, body: bytes, kind: str, version: int | None, of: str | None, accept: str = _JSON
) -> Request:
    require_clear(model, version, None)
    path = path_to("explain", model, version=version, of=of)
    return Request("POST", path, {"Content-Type": kind, "Accept": accept}, body)


def read_predictions(response: Response) -> tuple[PredictAnswer, list[ExampleAnswer]]:
    """Read a response to `/predict`, but no tensors; a ServerError if it is something else."""
    what = "it did not return predictions"
    answer = _decode(response.body, _PREDICT_ANSWER, what)
    if answer.task == "tensors":
        return answer, []
    return answer, _decode(answer.predictions, _EXAMPLE_ANSWERS, what)


def _decode(body: bytes, decoder: msgspec.json.Decoder[Result], what: str) -> Result:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _not_a_gateway(f"{what} ({error})") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = "this is not a gateway: it did not return JSON"
        raise ServerError(Code.UNKNOWN, message) from error


def _path(model: str, version: int | None, label: str | None) -> str:
    path = f"/v1/models/{quote(model, safe='')}"
    if version is not None:
        return f"{path}/versions/{version}"
    return path if label is None else f"{path}/labels/{quote(label, safe='')}"


def _encode(examples: Sequence[NamedExample]) -> tuple[str, bytes]:
    """Encode examples as a content type and a body."""
    rows = [named.example for named in examples if isinstance(named.example, TextRow)]
    if len(rows) == len(examples):
        return "text/csv", write_rows(rows)
    if rows:
        expected, hint = "only CSV files or none", "send them one by one"
        raise InvalidInputError("inputs", expected=expected, got="both", hint=hint)
    if any(isinstance(named.example, Mapping) for named in examples):
        # NaN and infinity are sent although they are not JSON: the gateway reports where they are.
        document = {"instances": [_instance(named.example) for named in examples]}
        return _JSON, json.dumps(document, default=_refuse).encode()
    files = [_file(index, named) for index, named in enumerate(examples)]
    if len(files) == 1:
        return _FILE, files[0]
    parts = [(f"inputs[{index}]", (str(index), file, _FILE)) for index, file in enumerate(files)]
    content, content_type = encode_multipart_formdata(parts)
    return content_type, content


def _instance(example: Example) -> Any:
    if isinstance(example, bytes):
        return {"b64": base64.b64encode(example).decode()}
    return example if isinstance(example, Mapping) else np.asarray(example).tolist()


def _refuse(value: object) -> str:
    expected = "rows of numbers, texts, dates, true, false and None"
    got = f"a value of type {type(value).__name__}"
    raise InvalidInputError("inputs", expected=expected, got=got)


def _file(index: int, named: NamedExample) -> bytes:
    if isinstance(named.example, bytes):
        return named.example
    array = np.asarray(named.example)
    stream = io.BytesIO()
    try:
        np.save(stream, array, allow_pickle=False)
    except ValueError as error:
        got = f"dtype {array.dtype}"
        wrong = InvalidInputError(named.field, expected="an array of numbers", got=got)
        raise UnreadableExampleError(wrong, index) from error
    return stream.getvalue()


def _renamed(error: InvalidRequestError, examples: Sequence[NamedExample]) -> InvalidRequestError:
    """Replace the gateway's name of an example in an error by the caller's."""
    place = _PLACE.match(error.field)
    if place is None or not error.message.startswith(error.field):
        return error
    row, file, instance = place.groups()
    if row is file is instance is None and len(examples) > 1:
        return error
    index = int(row) - 1 if row else int(file or instance or 0)
    if not 0 <= index < len(examples):
        return error
    field = examples[index].field + error.field[place.end() :]
    message, hint = field + error.message[len(error.field) :], error.hint
    example = examples[index].example
    if isinstance(example, TextRow) and example.hint and error.got.startswith("an unknown column"):
        # The gateway does not know how the file was read.
        message, hint = f"{message}; {example.hint}", f"{hint}; {example.hint}"
    renamed = InvalidRequestError(error.code, message, error.request_id)
    return renamed.about(vars(error) | {"field": field, "hint": hint}, index)


def _answer(model: str, response: Response) -> Answer:
    """Read a response to `/predict/<model>?full=true`."""
    found, items = read_predictions(response)
    version, labels = found.version, found.labels
    changes = [Adjustments(each.imputed, each.other, found.ignored) for each in items]
    adjusted = {index: each for index, each in enumerate(changes) if each}
    try:
        if not found.task:
            raise ValueError("no task")
        if found.task == "tensors":
            rows = msgspec.json.decode(found.predictions, type=list[dict[str, Any]])
            outputs = {
                name: from_json([row[name] for row in rows], dtype)
                for name, dtype in found.dtypes.items()
            }
            return Answer(model, version, outputs=outputs)
        if found.task == "regression":
            values = tuple(Value(_number(each.value)) for each in items)
            return Answer(model, version, values=values, adjusted=adjusted)
        probabilities = np.array([each.probabilities for each in items], np.float32)
        probabilities = probabilities.reshape(len(items), len(labels))
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise _not_a_gateway("it did not return predictions") from error
    found_labels = [each.prediction() for each in items]
    return classification(model, version, labels, probabilities, found_labels, adjusted)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _not_a_gateway(why: str) -> ServerError:
    return ServerError(Code.UNKNOWN, f"this is not a gateway of this release: {why}")


def require_ok(response: Response, place: Callable[[], str]) -> Response:
    """Return a response of success, else raise a CallError; `place` describes the URL in it."""
    status = response.status
    if 200 <= status < 300:
        return response
    code = _CODES.get(status, Code.INVALID_ARGUMENT if status < 500 else Code.UNKNOWN)
    members = _members(response)
    retry_after = None
    with suppress(InvalidHeader):
        retry_after = Retry().parse_retry_after(response.headers.get("retry-after", ""))
    # A problem document (RFC 9457), or TensorFlow Serving's format.
    detail = members.get("detail") or members.get("error")
    if not detail:
        # A response of a proxy, or of /readyz, which has its own format.
        detail = f"{place()} returned {status} {_PHRASES.get(status, '')}".rstrip()
        detail += "" if status in _FROM_PROXIES else ": is that a RockstarTF gateway?"
    if status == HTTPStatus.UNAUTHORIZED:
        detail = f"{detail.rstrip('.')}: give the client its api_key="
    error = call_error(code, detail, members.get("request_id"), retry_after=retry_after)
    raise error.about(members, None) if isinstance(error, InvalidRequestError) else error


def _members(response: Response) -> dict[str, str]:
    """The text members of an error document; empty if the body is no such document."""
    if not response.headers.get("content-type", "").startswith("application/"):
        return {}
    try:
        document = json.loads(response.body)
    except ValueError:
        return {}
    members = document.items() if isinstance(document, dict) else ()
    return {name: text for name, text in members if isinstance(text, str)}
