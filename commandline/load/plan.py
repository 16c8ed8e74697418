"""How a service is put under load, and the record of every request."""

from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

OK = "ok"
TIMEOUT = "timeout"
NO_CONNECTION = "no connection"

# Sends request i on connection c and waits for the answer: OK, or what is wrong, such as "429".
Call = Callable[[int, int], Awaitable[str]]


@dataclass(frozen=True)
class LoadPlan:
    """How many requests, how long and how many at a time.

    Attributes:
        connections: requests at a time, at most.
        seconds: after which no more requests are sent.
        requests: after which no more are sent either; None is no limit.
        rate: requests a second, sent when they are due whether or not others are answered (open
            loop); None sends each as soon as its connection has an answer (closed loop).
    """

    connections: int
    seconds: float
    requests: int | None = None
    rate: float | None = None


@dataclass
class Record:
    """What came of the requests.

    Attributes:
        latencies: seconds of each request that was answered well: until the whole answer was there,
            from when it was sent, or with a rate from when it was due.
        errors: how often what went wrong.
        unsent: with a rate, requests that were due in time and found no free connection.
        seconds: from the first request to the last answer.
        cpu_seconds: of the processor that this process used meanwhile.
    """

    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    unsent: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def add(self, outcome: str, latency: float) -> None:
        """Note a request."""
        if outcome == OK:
            self.latencies.append(latency)
        else:
            self.errors[outcome] += 1
