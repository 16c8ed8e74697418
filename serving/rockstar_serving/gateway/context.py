"""The state of one request: its id, deadline, trace and phases."""

import math
import random
import re
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cached_property
from typing import Literal

import msgspec

from rockstar_client.errors import DeadlineExceededError
from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.routes_file import Arm
from tfs_api.status import Code

TIMEOUT_HEADER = "X-Request-Timeout"
TRACE_HEADER, TRACE_STATE_HEADER = "traceparent", "tracestate"
# "full": rejected; "late": the timeout ended in the queue; "receiving": does not count until its
# body has arrived, see admission.Upload.
Verdict = Literal["unlimited", "admitted", "full", "late", "receiving"]
_MAX_REQUEST_ID = 64
_IN_IDS = re.compile("[-._]")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_STATE = 512  # characters of tracestate that must be passed on; a longer one is dropped


class TraceContext(msgspec.Struct, frozen=True):
    """The place of a request in a distributed trace: https://www.w3.org/TR/trace-context/.

    Attributes:
        trace_id: id of the whole trace, 32 hexadecimal digits.
        span_id: id of this gateway's span, 16 digits.
        parent_id: id of the caller's span, 16 digits; empty if the trace starts here.
        flags: two digits; the last bit is set if the caller records the trace.
        state: data of other vendors, to be passed on.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    flags: str = "00"
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The header for calls that this request makes."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The headers of a gRPC call."""
        state = ((TRACE_STATE_HEADER, self.state),) if self.state else ()
        return ((TRACE_HEADER, self.traceparent), *state)


def trace_context(traceparent: str | None, tracestate: str | None) -> TraceContext:
    """Continue the caller's trace; start a new one if the header is missing or invalid."""
    match = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if match is None:
        return TraceContext(new_id(16), new_id(8))
    version, trace_id, parent_id, flags, rest = match.groups()
    invalid = version == "ff" or not int(trace_id, 16) or not int(parent_id, 16)
    if invalid or (version == "00" and rest):
        return TraceContext(new_id(16), new_id(8))
    state = tracestate or ""
    usable = len(state) <= _MAX_STATE and state.isascii() and state.isprintable()
    return TraceContext(trace_id, new_id(8), parent_id, flags, state if usable else "")


class Phase(msgspec.Struct, frozen=True):
    """A timed part of a request.

    Attributes:
        name: "preprocess", "upstream" or "postprocess".
        start: nanoseconds since the epoch.
        seconds: duration.
    """

    name: str
    start: int
    seconds: float


class _PhaseTimer(msgspec.Struct):
    """Adds a phase to a request. A class, as contextlib's generators are slower."""

    name: str
    current: "RequestContext"
    start: int = 0
    began: float = 0.0

    def __enter__(self) -> None:
        self.start, self.began = time.time_ns(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        name, current = self.name, self.current
        seconds = time.perf_counter() - self.began
        current.phases.append(Phase(name, self.start, seconds))
        current.spent[name] = current.spent.get(name, 0.0) + seconds


class RequestContext(msgspec.Struct, dict=True):
    """One request; observers read it when the request is answered.

    It has the same members on every server, so that predictions depend on no web framework.

    Attributes:
        request_id: the caller's or a new one; also in the X-Request-ID header and in errors.
        api: name of its API.
        timeout: seconds it may take once its body has arrived.
        started: when it arrived, in monotonic seconds.
        method: of HTTP, in upper case.
        path: decoded, without the query and a proxy's prefix.
        query: arguments of the URL, not decoded.
        header: returns a header by its name in lower case; None if there is none.
        receive: returns the chunks of the body as they arrive, within limits of size and time.
        remote_address: of the client; None if it is not known.
        route: the pattern of its path, such as "/predict/<model>"; empty if there is none.
        uploading: seconds its body took to arrive; they do not count toward the timeout.
        unread: whether much of its body may still be unread.
        verdict: whether it may run.
        error: in its headers, to be raised when its API is known.
        caller: owner of its API key; empty without keys.
        model: the requested model as the caller names it; empty if there is none.
        version: the version that answered; None before.
        instances: number of examples.
        phases: in the order in which they ended.
        spent: total seconds by name of a phase.
        arms: by model, the version of a split that the request goes to.
        held: functions that give back the memory it holds; see admission.Memory.
    """

    request_id: str
    api: str
    timeout: float
    started: float
    method: str = ""
    path: str = ""
    query: str = ""
    header: Callable[[str], str | None] = lambda _: None
    receive: Callable[[], Iterator[bytes]] = lambda: iter(())
    remote_address: str | None = None
    route: str = ""
    uploading: float = 0.0
    unread: bool = False
    verdict: Verdict = "unlimited"
    error: InvalidInputError | None = None
    caller: str = ""
    model: str = ""
    version: int | None = None
    instances: int = 0
    phases: list[Phase] = []
    spent: dict[str, float] = {}
    arms: dict[str, Arm] = {}
    held: list[Callable[[], None]] = []

    @cached_property
    def trace(self) -> TraceContext:
        """Its place in a distributed trace."""
        return trace_context(self.header(TRACE_HEADER), self.header(TRACE_STATE_HEADER))

    def time_left(self) -> float:
        """Seconds until the deadline; raises DeadlineExceededError if it has passed."""
        left = self.started + self.uploading + self.timeout - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(
                Code.DEADLINE_EXCEEDED, f"there was no answer within {self.timeout:g} s"
            )
        return left

    def release(self) -> None:
        """Give back the memory that it holds."""
        while self.held:
            self.held.pop()()

    def phase(self, name: str) -> _PhaseTimer:
        """A context manager that times a phase."""
        return _PhaseTimer(name, self)


# Ten times as fast as Flask's `g`.
_current: ContextVar[RequestContext] = ContextVar("rockstar_request")
# context() returns the current request; outside a request it raises a LookupError.
context, set_context, reset_context = _current.get, _current.set, _current.reset


def trace_headers() -> tuple[tuple[str, str], ...]:
    """Trace headers for a call upstream; empty outside a request."""
    current = _current.get(None)
    return current.trace.metadata if current is not None else ()


def request_id(given: str | None) -> str:
    """The caller's request id if it is safe to log, else a new one."""
    usable = given and len(given) <= _MAX_REQUEST_ID and _IN_IDS.sub("", given).isalnum()
    return given if given and usable and given.isascii() else new_id(16)


def request_timeout(given: str, most: float) -> float:
    """Parse X-Request-Timeout, in seconds, at most `most`. Raises InvalidInputError."""
    try:
        # float() alone would accept "1_0", other scripts' digits and spaces.
        seconds = float(given) if given.isascii() and "_" not in given else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= most:
        raise InvalidInputError(
            TIMEOUT_HEADER, expected=f"seconds above 0, at most {most:g}", got=repr(given[:40])
        )
    return seconds


def new_id(size: int) -> str:
    """A random id of `size` bytes in hexadecimal; not a secret, so the fast generator will do."""
    return f"{random.getrandbits(8 * size):0{2 * size}x}"
