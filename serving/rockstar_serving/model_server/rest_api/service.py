"""REST to the core: translation only."""

import logging
import time
from collections.abc import Callable, Iterable
from http.client import responses
from typing import Any

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.inference.core import Core
from rockstar_serving.model_server.inference.predict import PredictQuery, SignatureNotFoundError
from rockstar_serving.model_server.options import RestOptions
from rockstar_serving.model_server.rest_api.bodies import BodyTooLargeError, read_body
from rockstar_serving.model_server.rest_api.cors import CORS_HEADERS, check_preflight
from rockstar_serving.model_server.rest_api.examples import classify, regress
from tfs_api import json_response, json_tensors
from tfs_api.model_ref import ModelRef
from tfs_api.rest_answers import VersionState, error_json, metadata_json, status_json
from tfs_api.rest_routes import Action, path_of, route
from tfs_api.signature import signature_def_map
from tfs_api.status import HTTP_STATUS, Code, StatusError

log = logging.getLogger(__name__)

StartResponse = Callable[..., Any]

# Under these keys of the environment are left, for who measures: the Route, if it is one; the Code.
ROUTE_KEY, CODE_KEY = "rockstartf.route", "rockstartf.code"
# Under this key a server may leave when it had received a request, on time.monotonic()'s clock.
RECEIVED_KEY = "rockstartf.received"
_STATUS_LINES = {number: f"{number} {phrase}" for number, phrase in responses.items()}
_STATUS_LINES[HTTP_STATUS[Code.CANCELLED]] = "499 Client Closed Request"  # not in the standard
_JSON = ("Content-Type", "application/json")


class RestService:
    """A WSGI application."""

    def __init__(self, core: Core, options: RestOptions = RestOptions()) -> None:  # noqa: B008
        self._core = core
        self._max_body_bytes = options.max_body_bytes
        self._cors_headers = CORS_HEADERS if options.cors else []
        self._timeout_seconds = options.timeout_seconds

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method, path = environ["REQUEST_METHOD"], path_of(environ["REQUEST_URI"])
        headers = [_JSON, *self._cors_headers]
        try:
            if method == "OPTIONS" and path.lower().startswith("/v1/"):
                check_preflight(environ.get("HTTP_ORIGIN", ""))
                body, headers = b"", self._cors_headers
            else:
                body = self._answer(method, path, environ)
            code, status = Code.OK, 200
        except StatusError as error:
            body, code, status = error_json(error.message), error.code, HTTP_STATUS[error.code]
            if isinstance(error, BodyTooLargeError):
                status = 413
        except Exception:
            log.exception("%s %s failed", method, path)
            body, code = error_json("internal error"), Code.INTERNAL
            status = HTTP_STATUS[code]
        environ[CODE_KEY] = code
        headers = [*headers, ("Content-Length", str(len(body)))]
        start_response(_STATUS_LINES[status], headers)
        return [] if method == "HEAD" else [body]

    def _answer(self, method: str, path: str, environ: dict[str, Any]) -> bytes:
        asked = environ[ROUTE_KEY] = route(method, path)
        if asked.action is Action.STATUS:
            return status_json(
                VersionState(each.version, each.state.name, each.code, each.message)
                for each in self._core.status(asked.ref)
            )
        if asked.action is Action.METADATA:
            metadata = self._core.metadata(asked.ref)
            signatures = signature_def_map(metadata.signatures)
            return metadata_json(asked.ref.name, metadata.version, signatures)
        body = read_body(environ, self._max_body_bytes)
        deadline = self._deadline(environ)
        deadline.check()
        if asked.action is Action.CLASSIFY:
            return classify(self._core, asked.ref, body, deadline)
        if asked.action is Action.REGRESS:
            return regress(self._core, asked.ref, body, deadline)
        return self._predict(asked.ref, body, deadline)

    def _deadline(self, environ: dict[str, Any]) -> Deadline:
        if self._timeout_seconds is None:
            return NO_DEADLINE
        return Deadline(environ.get(RECEIVED_KEY, time.monotonic()) + self._timeout_seconds)

    def _predict(self, ref: ModelRef, body: bytes | memoryview, deadline: Deadline) -> bytes:
        request = json_tensors.parse_request(body)
        query = PredictQuery(
            lambda signature: json_tensors.feeds(request, signature),
            request.signature_name,
            deadline=deadline,
        )
        try:
            _, prediction = self._core.predict(ref, query)
        except SignatureNotFoundError as error:
            raise json_tensors.signature_not_found(error.signature_name) from error
        return json_response.response(prediction.outputs, by_row=request.by_row)
