"""Requests to the model server's REST API without an HTTP server."""

import json as json_module
import time
from dataclasses import dataclass
from typing import Any

from rockstar_serving.model_server.rest import RestApi, RestRequest


@dataclass
class Response:
    status_code: int
    headers: dict[str, str]
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode()

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json"
        return json_module.loads(self.data)


class RestClient:
    def __init__(self, api: RestApi) -> None:
        self._api = api

    def open(
        self,
        path: str,
        method: str,
        data: str | bytes | None = None,
        json: Any = None,
        encoding: str = "",
        origin: str = "",
        received_at: float | None = None,
    ) -> Response:
        if data is None:
            data = b"" if json is None else json_module.dumps(json)
        body = data.encode() if isinstance(data, str) else data
        uri = path.encode().decode("latin-1")
        received_at = time.monotonic() if received_at is None else received_at
        response = self._api.respond(RestRequest(method, uri, body, encoding, origin, received_at))
        return Response(response.status, dict(response.headers), response.body)

    def get(self, path: str, **arguments: Any) -> Response:
        return self.open(path, "GET", **arguments)

    def post(self, path: str, **arguments: Any) -> Response:
        return self.open(path, "POST", **arguments)

    def options(self, path: str, **arguments: Any) -> Response:
        return self.open(path, "OPTIONS", **arguments)
