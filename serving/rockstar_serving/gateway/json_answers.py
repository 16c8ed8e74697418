"""JSON answers, written by msgspec: several times as fast as Python's own encoder."""

from typing import Any

import msgspec
from flask import Response
from flask.json.provider import DefaultJSONProvider


class MsgspecProvider(DefaultJSONProvider):
    """What Flask's `jsonify` uses: also for dataclasses and Structs; NaN becomes null."""

    def dumps(self, obj: Any, **_options: Any) -> str:
        """A value as JSON."""
        return msgspec.json.encode(obj).decode()

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """An answer with a value as JSON, or with an object of the named ones."""
        body = msgspec.json.encode(self._prepare_response_obj(args, kwargs)) + b"\n"
        return Response(body, mimetype=self.mimetype)
