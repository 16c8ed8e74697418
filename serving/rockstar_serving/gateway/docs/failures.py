"""Errors in the document: for each status what it means, with an example, as an API says it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rockstar_serving.gateway.errors import Problem, members
from tfs_api.status import HTTP_STATUS

Json = dict[str, Any]

# Statuses, by what leads to them.
ANYWHERE = (400, 500)
QUEUED = (429, 504)
# Keys are asked for.
KEYED = (401, 403)
# A body is read.
READING = (408, 413, 415)
# The model server is asked.
ASKING = (404, 503)
# What the model server says is passed on, whatever it is.
RELAYED = tuple(sorted({status for status in HTTP_STATUS.values() if status >= 400}))

_MEANINGS = {
    400: "The request is wrong; the answer says where, what was expected and what came.",
    401: "An API key is needed, or the model server wants to know who asks.",
    403: "The API key is not for this model, or the model server refuses.",
    404: "There is no such model, version or label; the answer says what there is.",
    409: "The model server's state does not allow it now.",
    408: "The body took too long to arrive.",
    413: "Too large: the body (also when decompressed), an image in pixels, or too many examples.",
    415: "A content type or content coding that is not taken.",
    429: "There are as many requests as can be taken: come back after `Retry-After` seconds.",
    499: "The call was cancelled.",
    500: "The gateway or the model server failed; the log has the reason under the request id.",
    501: "The model server cannot do this.",
    502: "The model server answered something that makes no sense.",
    503: "The model server cannot be reached: come back after `Retry-After` seconds.",
    504: "There was no answer in the time that the request had.",
}
_RETRIED = (429, 503)

_EXAMPLES = {
    400: Problem(
        400,
        "top: expected a whole number from 1, got '0'",
        field="top",
        expected="a whole number from 1",
        got="'0'",
        hint="GET /docs shows what can be sent.",
    ),
    401: Problem(
        401,
        "An API key is needed.",
        hint="Send the header Authorization: Bearer KEY, or X-API-Key: KEY.",
    ),
    403: Problem(403, "This API key is not for the model cnn."),
    404: Problem(
        404,
        "model: expected a served model (cnn, mlp), got 'ccn'",
        field="model",
        expected="a served model (cnn, mlp)",
        got="'ccn'",
        hint="GET /v1/models lists what is served.",
    ),
    408: Problem(
        408,
        "The body did not arrive within 60 s.",
        hint="Send less at once, or over a faster connection.",
    ),
    409: Problem(409, "The version is about to be unloaded."),
    413: Problem(
        413,
        "body: expected at most 16,777,216 bytes, got 20,000,000 bytes; "
        "send fewer or smaller inputs",
        field="body",
        expected="at most 16,777,216 bytes",
        got="20,000,000 bytes",
        hint="send fewer or smaller inputs",
    ),
    415: Problem(
        415,
        "Content-Type: expected image/* or application/json, got text/plain",
        field="Content-Type",
        expected="image/* or application/json",
        got="text/plain",
        hint="GET /docs shows what can be sent.",
    ),
    429: Problem(
        429,
        "The gateway has as many requests as it can take.",
        hint="Try again in a moment, with fewer requests at a time.",
    ),
    499: Problem(499, "The call was cancelled."),
    500: Problem(500, "The gateway failed; its log has the details under this request id."),
    501: Problem(501, "Explain is not implemented."),
    502: Problem(502, "The model server could not answer this request."),
    503: Problem(
        503,
        "The model server cannot be reached.",
        hint="It is starting or down: try again in a moment.",
    ),
    504: Problem(
        504,
        "There was no answer within 10 s.",
        hint="Send fewer or smaller inputs, or try again later.",
    ),
}


@dataclass(frozen=True)
class Manner:
    """How an API says errors.

    Attributes:
        name: of the schema.
        media_type: of the body.
        schema: of the body.
        say: the body of a problem.
    """

    name: str
    media_type: str
    schema: Json
    say: Callable[[Problem], Json]

    def responses(self, *statuses: int) -> Json:
        """References to the responses of some of its statuses, in order."""
        return {
            str(status): {"$ref": f"#/components/responses/{self._response(status)}"}
            for status in sorted(set(statuses))
        }

    def components(self) -> Json:
        """All its responses themselves, by name."""
        return {self._response(status): self._described(status) for status in _MEANINGS}

    def _response(self, status: int) -> str:
        return f"{self.name}{status}"

    def _described(self, status: int) -> Json:
        headers = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
        if status in _RETRIED:
            headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
        body = {
            "schema": {"$ref": f"#/components/schemas/{self.name}"},
            "examples": {"error": {"value": self.say(_EXAMPLES[status])}},
        }
        return {
            "description": _MEANINGS[status],
            "headers": headers,
            "content": {self.media_type: body},
        }


def _text(description: str) -> Json:
    return {"type": "string", "description": description}


PROBLEM = Manner(
    "Problem",
    "application/problem+json",
    {
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "properties": {
            "type": _text("`about:blank`: the status says it all."),
            "title": _text("The name of the status."),
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": _text("What went wrong, in a sentence."),
            "field": _text("Where in the request, such as `instances[2]`."),
            "expected": _text("What would be right."),
            "got": _text("What came."),
            "hint": _text("How to mend it."),
            "request_id": _text("Finds the request in the gateway's log."),
        },
        "required": ["type", "title", "status", "detail", "request_id"],
    },
    lambda problem: members(problem, "0f8fad5bd9cb469fa16570867728950e"),
)
