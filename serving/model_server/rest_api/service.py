"""REST to the core: translation only."""

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf import json_format
from werkzeug.wrappers import Request, Response

from serving.api import json_response, json_tensors
from serving.api.signature import signature_def_map
from serving.api.status import HTTP_STATUS, Code, StatusError
from serving.model_server.inference.core import Core
from serving.model_server.inference.predict import PredictQuery, SignatureNotFoundError
from serving.model_server.models.manager import ModelRef
from serving.model_server.models.versions import MAX_VERSION

log = logging.getLogger(__name__)

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE = re.compile(_MODEL + r":(?P<method>classify|regress|predict)", re.IGNORECASE)
_DESCRIPTION = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.IGNORECASE)

StartResponse = Callable[..., Any]


class RestService:
    """A WSGI application."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        try:
            body, status = self._answer(Request(environ)), 200
        except StatusError as error:
            body, status = _error(error.message), HTTP_STATUS[error.code]
        except Exception:
            log.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            body, status = _error("internal error"), HTTP_STATUS[Code.INTERNAL]
        response = Response(body, status, content_type="application/json")
        return response(environ, start_response)

    def _answer(self, request: Request) -> bytes:
        method, path = request.method, request.path
        if not path.lower().startswith("/v1/"):
            raise StatusError(Code.NOT_FOUND, f"Not found: {method} {path}")
        if method == "POST" and (match := _INFERENCE.fullmatch(path)):
            return self._predict(match, request.get_data())
        if method == "GET":
            if path.lower() == "/v1/models":
                raise StatusError(Code.INVALID_ARGUMENT, "Missing model name in request.")
            if match := _DESCRIPTION.fullmatch(path):
                return self._metadata(match) if match["metadata"] else self._status(match)
        raise StatusError(Code.INVALID_ARGUMENT, f"Malformed request: {method} {path}")

    def _predict(self, match: re.Match[str], body: bytes) -> bytes:
        if match["method"].lower() != "predict":
            raise StatusError(
                Code.UNIMPLEMENTED, f"{match['method']} is not implemented by this server"
            )
        request = json_tensors.parse_request(body)
        try:
            _, prediction = self._core.predict(
                _ref(match),
                PredictQuery(
                    lambda signature: json_tensors.feeds(request, signature),
                    request.signature_name,
                ),
            )
        except SignatureNotFoundError as error:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f'Serving signature name: "{error.signature_name}" not found in signature def',
            ) from error
        return json_response.response(prediction.outputs, by_row=request.by_row)

    def _status(self, match: re.Match[str]) -> bytes:
        return json_response.encode(
            {
                "model_version_status": [
                    {
                        "version": str(status.version),
                        "state": status.state.name,
                        "status": {
                            "error_code": status.code.name,
                            "error_message": status.message,
                        },
                    }
                    for status in self._core.status(_ref(match))
                ]
            }
        )

    def _metadata(self, match: re.Match[str]) -> bytes:
        metadata = self._core.metadata(_ref(match))
        signatures = json_format.MessageToDict(
            signature_def_map(metadata.signatures),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        return json_response.encode(
            {
                "model_spec": {
                    "name": match["name"],
                    "signature_name": "",
                    "version": str(metadata.version),
                },
                "metadata": {"signature_def": signatures},
            }
        )


def _ref(match: re.Match[str]) -> ModelRef:
    if match["version"] is None:
        return ModelRef(match["name"], label=match["label"])
    # Digits of any script match \d, and int() reads them; more than an int64 is no version.
    digits = match["version"]
    if len(digits) > 64 or int(digits) > MAX_VERSION:
        raise StatusError(Code.INVALID_ARGUMENT, f"Failed to convert version: {digits} to numeric.")
    return ModelRef(match["name"], version=int(digits))


def _error(message: str) -> bytes:
    return json_response.encode({"error": message})
