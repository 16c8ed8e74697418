"""The place of a request in a distributed trace: https://www.w3.org/TR/trace-context/."""

import re

import msgspec

from rockstar_serving.gateway.ids import new_id

HEADER = "traceparent"
STATE_HEADER = "tracestate"
_PATTERN = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_STATE = 512  # characters that everyone must pass on; longer ones are left out


class TraceContext(msgspec.Struct, frozen=True):
    """Where a request belongs.

    Attributes:
        trace_id: 32 hexadecimal digits, of the whole trace.
        span_id: 16, of this gateway's part.
        parent_id: 16, of the caller's; empty where the trace begins here.
        flags: two; the last bit says that the caller records the trace.
        state: what other vendors want passed on.
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
        """The headers for a gRPC call."""
        state = ((STATE_HEADER, self.state),) if self.state else ()
        return ((HEADER, self.traceparent), *state)


def trace_context(traceparent: str | None, tracestate: str | None) -> TraceContext:
    """Continue the caller's trace, or begin one: without a header, or with one without sense."""
    match = _PATTERN.fullmatch((traceparent or "").strip())
    if match is None:
        return TraceContext(new_id(16), new_id(8))
    version, trace_id, parent_id, flags, rest = match.groups()
    invalid = version == "ff" or not int(trace_id, 16) or not int(parent_id, 16)
    if invalid or (version == "00" and rest):
        return TraceContext(new_id(16), new_id(8))
    state = tracestate or ""
    usable = len(state) <= _MAX_STATE and state.isascii() and state.isprintable()
    return TraceContext(trace_id, new_id(8), parent_id, flags, state if usable else "")
