"""The REST API: HTTP requests as calls of the core, independent of the HTTP server.

URLs, bodies and statuses are those of TensorFlow Serving's `http_rest_api_handler.cc`.
"""

import logging
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rockstar_serving.model_server.core import Core, PredictQuery
from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import SignatureNotFoundError
from rockstar_serving.model_server.examples import ExamplesQuery, examples_of
from rockstar_serving.model_server.options import RestOptions
from tfs_api import json_request, json_response
from tfs_api.json_response import error_json, metadata_json, status_json
from tfs_api.model_ref import Action, Route, path_of, route
from tfs_api.signature import signature_def_map
from tfs_api.status import HTTP_STATUS, Code, StatusError, invalid

if TYPE_CHECKING:
    from rockstar_serving.model_server.monitoring import Monitoring

log = logging.getLogger(__name__)

CORS_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
_JSON = ("Content-Type", "application/json")
# TensorFlow Serving counts these requests, but under no API.
_WITHOUT_API = (Action.STATUS, Action.METADATA)

Headers = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class RestRequest:
    """A request whose body has arrived.

    Attributes:
        uri: path and query as sent, as Latin-1; it may name the host too.
        received_at: when the body was complete, on the clock of time.monotonic().
        gone: returns whether the client is gone.
    """

    method: str
    uri: str
    body: bytes = b""
    content_encoding: str = ""
    origin: str = ""
    received_at: float = field(default_factory=time.monotonic)
    gone: Callable[[], bool] = NO_DEADLINE.gone


@dataclass(slots=True)
class RestResponse:
    """A response without the headers that the HTTP server adds."""

    status: int
    headers: Headers
    body: bytes


class BodyTooLargeError(StatusError):
    """The body has more bytes than the server accepts: HTTP status 413."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            Code.INVALID_ARGUMENT,
            f"the body is longer than {max_bytes} bytes: send fewer instances at once, or start "
            "the server with a larger --rest_api_max_body_bytes",
        )


class RestApi:
    """Responds to requests; thread-safe. `monitoring` counts them and has its own page."""

    def __init__(
        self,
        core: Core,
        options: RestOptions = RestOptions(),  # noqa: B008 (frozen)
        monitoring: "Monitoring | None" = None,
    ) -> None:
        self._core = core
        self._max_body_bytes = options.max_body_bytes
        self._timeout_seconds = options.timeout_seconds
        self._monitoring = monitoring
        self.cors_headers: Headers = CORS_HEADERS if options.cors else ()
        self.headers = (_JSON, *self.cors_headers)

    def respond(self, request: RestRequest) -> RestResponse:
        """Run one request; errors become responses."""
        method, path = request.method, path_of(request.uri)
        monitoring = self._monitoring
        if monitoring is not None and unquote(path.partition("?")[0]) == monitoring.path:
            headers: Headers = (("Content-Type", monitoring.content_type),)
            if "?" in path:
                text = f"Unexpected path: {path}. Should be {monitoring.path}"
                return RestResponse(400, headers, text.encode())
            return RestResponse(200, headers, monitoring.page())
        started = time.perf_counter()
        found: Route | None = None
        code, headers = Code.OK, self.headers
        try:
            if method == "OPTIONS" and path.lower().startswith("/v1/"):  # CORS preflight
                if not re.search("https?://", request.origin):
                    message = "Origin header is missing in CORS preflight"
                    raise StatusError(Code.FAILED_PRECONDITION, message)
                body, headers = b"", self.cors_headers
            else:
                found = route(method, path)
                body = self._run(found, request)
            status = 200
        except StatusError as error:
            body, code, status = error_json(error.message), error.code, HTTP_STATUS[error.code]
            if isinstance(error, BodyTooLargeError):
                status = 413
        except Exception:  # of any kind: its text is not for clients
            log.exception("%s %s failed", method, path)
            body, code, status = error_json("internal error"), Code.INTERNAL, 500
        if monitoring is not None and path.lower().startswith("/v1/"):
            api = found.action.value if found and found.action not in _WITHOUT_API else ""
            if time.monotonic() - request.received_at > (self._timeout_seconds or float("inf")):
                code = Code.DEADLINE_EXCEEDED  # the client has already received this error
            seconds = time.perf_counter() - started
            monitoring.request(found.ref.name if found else "", api, "REST", code, seconds)
        return RestResponse(status, headers, body)

    def _run(self, found: Route, request: RestRequest) -> bytes:
        ref = found.ref
        if found.action is Action.STATUS:
            return status_json(
                (each.version, each.state.name, each.code, each.message)
                for each in self._core.status(ref)
            )
        if found.action is Action.METADATA:
            version, signatures = self._core.metadata(ref)
            return metadata_json(ref.name, version, signature_def_map(signatures))
        body = request.body
        # TensorFlow Serving looks for this word only.
        if "gzip" in request.content_encoding:
            body = _decompress(body, self._max_body_bytes)
        moment = request.received_at + (self._timeout_seconds or float("inf"))
        deadline = Deadline(moment, request.gone)
        deadline.check()
        if found.action is Action.PREDICT:
            parsed = json_request.parse_predict(body)
            query = PredictQuery(
                lambda signature: json_request.feeds(parsed, signature),
                parsed.signature_name,
                deadline=deadline,
            )
            try:
                _, prediction = self._core.predict(ref, query)
            except SignatureNotFoundError as error:
                raise json_request.signature_not_found(error.signature_name) from error
            return json_response.response(prediction.outputs, by_row=parsed.by_row)
        sent = json_request.parse_examples(body)
        examples = ExamplesQuery(examples_of(sent.input), sent.signature_name, deadline)
        if found.action is Action.CLASSIFY:
            _, classes = self._core.classify(ref, examples)
            return json_response.classification(classes.labels, classes.scores)
        _, regression = self._core.regress(ref, examples)
        return json_response.regression(regression.values)


def _decompress(body: bytes, max_bytes: int) -> bytes:
    """Decompress gzip, at most max_bytes."""
    decompressor = zlib.decompressobj(16 + zlib.MAX_WBITS)
    problem = "the body ends too early"
    try:
        content = decompressor.decompress(body, max_bytes + 1)
    except zlib.error as error:
        problem = f"the body is not: {error}"
    else:
        if len(content) > max_bytes:
            raise BodyTooLargeError(max_bytes)
        if decompressor.eof:
            return content
    raise invalid(f"the header Content-Encoding says gzip, but {problem}")
