"""The HTTP client: examples to the gateway, labels or numbers back."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
import requests

from clients.answer import Answer
from clients.connection import Connection
from clients.errors import CallError, UnavailableError, call_error
from clients.examples import Example, ExampleLike, read_examples
from serving.api.status import HTTP_STATUS, Code
from serving.csv_rows import write_rows
from serving.errors import InvalidInputError
from serving.tables import TextRow

DEFAULT_TIMEOUT_S = 10.0

# The first code of each HTTP status; where several share one, the general one comes first.
_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())}

# What a gateway's proxy answers where the gateway does not.
_FROM_PROXIES = (502, 503, 504)


class HttpClient(Connection):
    """Calls a gateway over one kept-alive session; a context manager."""

    def __init__(self, url: str = "http://127.0.0.1:8080", *, api_key: str | None = None) -> None:
        """Connect when first used.

        Args:
            url: of the gateway.
            api_key: where it asks for one.

        Raises:
            InvalidInputError: it is no URL of HTTP.
        """
        if not url.startswith(("http://", "https://")):
            raise InvalidInputError(
                "url", expected="http://… or https://…", got=repr(url), hint=f"try http://{url}"
            )
        self._url = url.rstrip("/")
        self._session = requests.Session()
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def predict(
        self,
        model: str,
        inputs: ExampleLike | Iterable[ExampleLike],
        *,
        version: int | None = None,
        top: int = 3,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> Answer:
        """Predict one or several inputs.

        Args:
            model: name.
            inputs: image files (paths or bytes), rows (dicts, or the path of a CSV file), or arrays
                that are the model's input; CSV files not together with others.
            version: None is the newest.
            top: how many labels to list for each.
            timeout: seconds that the gateway may be silent.

        Raises:
            CallError: the call failed.
            InvalidInputError: an input cannot be read.
        """
        content_type, body = _body(read_examples(inputs))
        response = self._request(
            "POST",
            f"/predict/{quote(model, safe='')}",
            params={"top": top} | ({} if version is None else {"version": version}),
            data=body,
            headers={"Content-Type": content_type},
            timeout=timeout,
        )
        return _answer(response)

    def predict_each(
        self,
        model: str,
        examples: Sequence[Example],
        *,
        version: int | None = None,
        top: int = 3,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> dict[str, Any]:
        """As `predict`, but a bad example is answered as an error beside the good ones.

        Returns:
            The gateway's document: model, version and predictions, each of which may be an error.
        """
        content_type, body = _body(list(examples))
        document: dict[str, Any] = self._request(
            "POST",
            f"/predict/{quote(model, safe='')}",
            params={"top": top, "partial": "true"}
            | ({} if version is None else {"version": version}),
            data=body,
            headers={"Content-Type": content_type},
            timeout=timeout,
        )
        return document

    def models(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> list[dict[str, Any]]:
        """The models that the gateway serves, with versions, states, labels and input."""
        models: list[dict[str, Any]] = self._request("GET", "/v1/models", timeout=timeout)["models"]
        return models

    def ready(self, *, timeout: float = DEFAULT_TIMEOUT_S) -> bool:
        """Whether every model answers; False also where the gateway cannot be reached."""
        try:
            self._request("GET", "/readyz", timeout=timeout)
        except CallError:
            return False
        return True

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def _request(self, method: str, path: str, *, timeout: float, **arguments: Any) -> Any:
        try:
            response = self._session.request(method, self._url + path, timeout=timeout, **arguments)
        except requests.Timeout as error:
            raise call_error(
                Code.DEADLINE_EXCEEDED, f"no answer from {self._url} within {timeout:g} s"
            ) from error
        except requests.exceptions.SSLError as error:
            raise UnavailableError(
                Code.UNAVAILABLE, f"{self._url} does not speak TLS as expected: try http://"
            ) from error
        except requests.RequestException as error:
            raise UnavailableError(
                Code.UNAVAILABLE, f"cannot reach a gateway at {self._url}: is it running there?"
            ) from error
        if not response.ok:
            raise _problem(response)
        try:
            return response.json()
        except ValueError as error:
            raise call_error(
                Code.UNKNOWN, f"{self._url} is not a gateway: it did not answer JSON"
            ) from error


def _body(examples: list[Example]) -> tuple[str, bytes]:
    """A content type and a body for it."""
    rows = [example for example in examples if isinstance(example, TextRow)]
    if not rows:
        # Also what is no JSON, NaN and infinity: the gateway says where they are.
        return "application/json", json.dumps({"instances": [*map(_instance, examples)]}).encode()
    if len(rows) != len(examples):
        raise InvalidInputError(
            "inputs", expected="only CSV files or none", got="both", hint="send them one by one"
        )
    return "text/csv", write_rows(rows)


def _instance(example: Example) -> Any:
    if isinstance(example, bytes):
        return {"b64": base64.b64encode(example).decode()}
    return example if isinstance(example, Mapping) else np.asarray(example).tolist()


def _answer(document: dict[str, Any]) -> Answer:
    """A regression's predictions have a value, a classification's have labels."""
    answers = document["predictions"]
    if answers and "value" in answers[0]:
        document = document | {"predictions": [], "values": answers}
    return msgspec.convert(document, Answer)


def _problem(response: requests.Response) -> CallError:
    """The error that a problem document (RFC 9457) describes."""
    status = response.status_code
    code = _CODES.get(status, Code.INVALID_ARGUMENT if status < 500 else Code.UNKNOWN)
    if response.headers.get("Content-Type", "").partition(";")[0] != "application/problem+json":
        # /readyz has a document of its own, and a proxy in between may say that nobody is there.
        place = response.url.split("?")[0]
        hint = "" if status in _FROM_PROXIES else ": is that a RockstarTF gateway?"
        return call_error(code, f"{place} answered {status} {response.reason}{hint}")
    problem = response.json()
    return call_error(code, problem["detail"], problem.get("request_id"))
