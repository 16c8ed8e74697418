"""What is no HTTP request, or ends as none: answered in the manner of the gateway's own errors."""

import logging
import re
from http import HTTPStatus

import msgspec

from rockstar_serving.gateway.ids import new_id

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ([^\r]*)\r\n")
_HINT = "GET /docs shows what can be sent."

log = logging.getLogger(__name__)


def problem_instead(said: bytes, error: Exception) -> bytes:
    """A problem document (RFC 9457) in place of gunicorn's page.

    Args:
        said: what gunicorn would answer, its first line included.
        error: why.
    """
    # The process that starts workers does without Flask, which this brings.
    from rockstar_serving.gateway.problem import INTERNAL, Problem, members

    first = _STATUS.match(said)
    if first is None:
        return said
    status, request_id = int(first[1]), new_id(16)
    # gunicorn has logged it, without an id.
    log.info("request %s: answered %d: %r", request_id, status, error)
    problem = Problem(status, str(error), hint=_HINT)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        problem = Problem(status, INTERNAL)
    body = msgspec.json.encode(members(problem, request_id)) + b"\n"
    head = (
        f"Connection: close\r\nContent-Type: application/problem+json\r\n"
        f"X-Request-ID: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return first[0] + head.encode() + body
