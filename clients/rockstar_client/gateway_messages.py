"""HTTP without a connection: what is sent, what comes back, and what errors say."""

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from rockstar_client.errors import InvalidRequestError, ServerError, call_error
from tfs_api.status import HTTP_STATUS, Code

# Says the gateway how many seconds an answer is worth.
TIMEOUT_HEADER = "X-Request-Timeout"
# The first code of each HTTP status; where several share one, the general one comes first.
_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())}
# What a gateway's proxy answers where the gateway does not.
_FROM_PROXIES = (502, 503, 504)


@dataclass(frozen=True)
class Request:
    """What to send.

    Attributes:
        method: of HTTP.
        path: with its query.
        headers: besides those of every request.
        body: may be empty.
        once: whether to ask only once, whatever comes.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    once: bool = False


@dataclass(frozen=True)
class Response:
    """What came.

    Attributes:
        status: of HTTP.
        headers: by name in small letters.
        body: whole.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The document in the body.

        Raises:
            ServerError: it is none.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ServerError(
                Code.UNKNOWN, "that is not a gateway: it did not answer JSON"
            ) from error


def require_ok(response: Response, place: str) -> Response:
    """The response, if it is a good one.

    Args:
        response: as it came.
        place: where it came from, for errors.

    Raises:
        CallError: it is an error, in whichever of the gateway's manners.
    """
    status = response.status
    if 200 <= status < 300:
        return response
    code = _CODES.get(status, Code.INVALID_ARGUMENT if status < 500 else Code.UNKNOWN)
    members = _members(response)
    retry_after = _retry_after(response.headers.get("retry-after", ""))
    # A problem document (RFC 9457), or TensorFlow Serving's manner.
    detail = members.get("detail") or members.get("error") or _unexplained(status, place)
    if status == HTTPStatus.UNAUTHORIZED:
        detail = f"{detail.rstrip('.')}: give the client its api_key="
    error = call_error(code, detail, members.get("request_id"), retry_after=retry_after)
    raise error.about(members, None) if isinstance(error, InvalidRequestError) else error


def _members(response: Response) -> dict[str, str]:
    """The texts of a document that says what is wrong; none where the body is no such document."""
    if not response.headers.get("content-type", "").startswith("application/"):
        return {}
    try:
        document = json.loads(response.body)
    except ValueError:
        return {}
    members = document.items() if isinstance(document, dict) else ()
    return {name: text for name, text in members if isinstance(text, str)}


def _unexplained(status: int, place: str) -> str:
    """Said by another than the gateway, such as a proxy; or by /readyz, which has its own form."""
    reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    hint = "" if status in _FROM_PROXIES else ": is that a RockstarTF gateway?"
    return f"{place} answered {status} {reason}".rstrip() + hint


def _retry_after(header: str) -> float | None:
    """Seconds to wait, from seconds or a date (RFC 9110, 10.2.3); None where there are none."""
    if header.isascii() and header.isdigit():
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())
