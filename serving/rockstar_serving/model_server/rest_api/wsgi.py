"""The REST API as a WSGI application."""

from collections.abc import Callable, Iterable
from http.client import responses
from typing import Any

from rockstar_serving.model_server.rest import RestApi, RestRequest
from rockstar_serving.model_server.rest_api.large_body import LargeBody
from tfs_api.status import HTTP_STATUS, Code

RECEIVED_KEY = "rockstartf.received"
_STATUS_LINES = {number: f"{number} {phrase}" for number, phrase in responses.items()}
_STATUS_LINES[HTTP_STATUS[Code.CANCELLED]] = "499 Client Closed Request"  # not in the standard


def wsgi_app(api: RestApi) -> Callable[..., Iterable[bytes]]:
    """An application that responds with the API."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        stream, method = environ["wsgi.input"], environ["REQUEST_METHOD"]
        if isinstance(stream, LargeBody):
            body: bytes | memoryview = stream.getbuffer()
        else:
            body = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
        response = api.respond(
            RestRequest(
                method,
                environ["REQUEST_URI"],
                body,
                environ.get("HTTP_CONTENT_ENCODING", ""),
                environ.get("HTTP_ORIGIN", ""),
                environ[RECEIVED_KEY],
            )
        )
        headers = [*response.headers, ("Content-Length", str(len(response.body)))]
        start_response(_STATUS_LINES[response.status], headers)
        return [] if method == "HEAD" else [response.body]

    return app
