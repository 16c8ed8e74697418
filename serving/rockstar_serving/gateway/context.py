"""What belongs to one request: its id, its deadline, and what is learnt of it on the way."""

import math
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from rockstar_client.errors import DeadlineExceededError
from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.ids import new_id
from rockstar_serving.gateway.trace_context import TraceContext, trace_context
from tfs_api.status import Code

if TYPE_CHECKING:
    from rockstar_serving.gateway.traffic.routes import Arm

TIMEOUT_HEADER = "X-Request-Timeout"
_MAX_REQUEST_ID = 64
_IN_IDS = re.compile("[-._]")


class Phase(msgspec.Struct, frozen=True):
    """A stretch of a request: "preprocess", "upstream" or "postprocess".

    Attributes:
        name: what it is called.
        start: nanoseconds since the epoch.
        seconds: how long it took.
    """

    name: str
    start: int
    seconds: float


class _Measured:
    """Adds a phase to those of a request. Made several times for each: no generator is."""

    __slots__ = ("_began", "_name", "_phases", "_start")

    def __init__(self, name: str, phases: list[Phase]) -> None:
        self._name = name
        self._phases = phases

    def __enter__(self) -> None:
        self._start, self._began = time.time_ns(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._phases.append(Phase(self._name, self._start, time.perf_counter() - self._began))


@dataclass
class RequestContext:
    """One request; observers read it when it is answered.

    Attributes:
        request_id: the caller's, or a new one; in the answer's X-Request-ID and in every error.
        api: the name of the API that it came to.
        timeout: seconds that it may take, when its body is there.
        started: when it came, in monotonic seconds.
        uploading: seconds that its body took to arrive, which do not count for the timeout.
        unread: whether much of its body may still be on its way, unread.
        caller: whose API key it came with; empty without keys.
        model: the model that was asked for, in the caller's words; empty where there is none.
        version: the one that answered; None until then.
        instances: how many examples it had.
        phases: in the order in which they ended.
        arms: by model, which version of a split the request goes to.
        trace: its place in a distributed trace.
    """

    request_id: str
    api: str
    timeout: float
    started: float
    uploading: float = 0.0
    unread: bool = False
    caller: str = ""
    model: str = ""
    version: int | None = None
    instances: int = 0
    phases: list[Phase] = field(default_factory=list)
    arms: "dict[str, Arm]" = field(default_factory=dict)
    trace: TraceContext = field(default_factory=lambda: trace_context(None, None))

    def time_left(self) -> float:
        """Seconds until the deadline: what a call upstream may take.

        Raises:
            DeadlineExceededError: none.
        """
        left = self.started + self.uploading + self.timeout - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(
                Code.DEADLINE_EXCEEDED, f"there was no answer within {self.timeout:g} s"
            )
        return left

    def phase(self, name: str) -> "_Measured":
        """Measures what is done inside: a context manager."""
        return _Measured(name, self.phases)

    def spent(self) -> dict[str, float]:
        """Seconds by the names of phases; those of one name add up."""
        spent: dict[str, float] = {}
        for phase in self.phases:
            spent[phase.name] = spent.get(phase.name, 0.0) + phase.seconds
        return spent


# Werkzeug's own way to a request takes ten times as long, and this one is asked for often.
_current: ContextVar[RequestContext | None] = ContextVar("rockstar_request", default=None)


def set_context(current: RequestContext | None) -> None:
    """Say which request is being answered from now on; None: no more."""
    _current.set(current)


def context() -> RequestContext:
    """Of the current request.

    Raises:
        LookupError: there is none.
    """
    current = _current.get()
    if current is None:
        raise LookupError("no request is being answered here")
    return current


def trace_headers() -> tuple[tuple[str, str], ...]:
    """What a call upstream says of its place in a trace; nothing outside of a request."""
    current = _current.get()
    return current.trace.metadata if current is not None else ()


def request_id(given: str | None) -> str:
    """The caller's id of a request where it is safe to log, else a new one."""
    usable = given and len(given) <= _MAX_REQUEST_ID and _IN_IDS.sub("", given).isalnum()
    return given if given and usable and given.isascii() else new_id(16)


def request_timeout(given: str | None, default: float, most: float) -> float:
    """Seconds that a request may take.

    Args:
        given: the header X-Request-Timeout.
        default: where there is none.
        most: what it may ask for.

    Raises:
        InvalidInputError: it is not a number of seconds, or too large.
    """
    if given is None:
        return default
    try:
        # float() alone would take "1_0", other scripts' digits and spaces.
        seconds = float(given) if given.isascii() and "_" not in given else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= most:
        raise InvalidInputError(
            TIMEOUT_HEADER,
            expected=f"seconds above 0, at most {most:g}",
            got=repr(given[:40]),
        )
    return seconds
