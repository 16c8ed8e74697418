"""What went wrong with a request, before an API says it in its own manner."""

import dataclasses
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from flask import Response

from rockstar_serving.gateway.context import context
from tfs_api.status import HTTP_STATUS, Code

INTERNAL = "The gateway failed; its log has the details under this request id."
_MEMBERS = ("field", "expected", "got", "hint")


@dataclasses.dataclass(frozen=True)
class Problem:
    """An error on its way to the caller.

    Attributes:
        status: HTTP status.
        detail: what went wrong, for a person.
        code: the canonical code behind it, where there is one.
        field: where in the request it was found.
        expected: what would be right.
        got: what came.
        hint: how to mend it.
        headers: for the answer, such as Retry-After.
    """

    status: int
    detail: str
    code: Code | None = None
    field: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def text(self) -> str:
        """The detail, and the hint where that does not say it: for APIs that have one text."""
        if self.hint in self.detail:
            return self.detail
        return f"{self.detail}{'' if self.detail.endswith('.') else ';'} {self.hint}"

    @property
    def title(self) -> str:
        """The name of its status."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return (
                "Client Closed Request" if self.status == HTTP_STATUS[Code.CANCELLED] else "Error"
            )


def problem_document(problem: Problem) -> Response:
    """As a problem document (RFC 9457) with members that say where, what and how to mend it."""
    body = msgspec.json.encode(members(problem, context().request_id)) + b"\n"
    return Response(body, mimetype="application/problem+json")


def members(problem: Problem, request_id: str) -> dict[str, str | int]:
    """The members of a problem document; those that have nothing to say are left out."""
    document: dict[str, str | int] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    where: dict[str, str] = {name: getattr(problem, name) for name in _MEMBERS}
    document |= {name: value for name, value in where.items() if value}
    return document | {"request_id": request_id}
