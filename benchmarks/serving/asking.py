"""Single requests: until a system is ready, to check its answers, and while it is overloaded."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import grpc

from benchmarks.serving.results import Refusals
from benchmarks.serving.system import Image, Kind, Request, Run, System
from benchmarks.serving.workloads import MANY

_TIMEOUT_S = 30.0
_PAUSE_S = 0.01
# Callers beside an overload, and the pause between the requests of each.
_PROBES, _PROBE_PAUSE_S = 4, 0.02
_TOO_MANY = 429
_AT_A_TIME = 16


class WrongAnswerError(Exception):
    """A system answered an error, or another label than the model's own."""


class NotReadyError(Exception):
    """A system ended, or did not answer in time."""


def ask(system: System, port: int, request: Request) -> tuple[int, bytes]:
    """The HTTP status and body of an answer; of gRPC 200 and the message.

    Raises:
        OSError: nobody answers.
    """
    if system.protocol == "grpc":
        return _call(port, request)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)) as connection:
        headers = {"Content-Type": request.content_type}
        connection.request("POST", request.path, request.body, headers)
        try:
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error


def wait_until_ready(
    system: System, port: int, request: Request, alive: Callable[[], bool], timeout: float
) -> None:
    """Ask until there is a good answer.

    Raises:
        NotReadyError: it ended, or the time is over; with its last answer.
    """
    deadline = time.monotonic() + timeout
    last = "nobody listens"
    while alive() and time.monotonic() < deadline:
        try:
            status, body = ask(system, port, request)
        except OSError as error:
            last = str(error)
        else:
            if status == http.HTTPStatus.OK:
                return
            last = f"{status} {body[:200]!r}"
        time.sleep(_PAUSE_S)
    raise NotReadyError(f"{'no answer in time' if alive() else 'it ended'}; last: {last}")


def check(system: System, run: Run, images: Sequence[Image], labels: Sequence[str]) -> None:
    """Compare answers to every kind of request, and to many at a time, with the model's labels.

    Raises:
        WrongAnswerError: an error, or another label.
    """

    def check_one(kind: Kind, first: int, size: int) -> None:
        request = system.request(run, kind, images[first : first + size])
        status, body = ask(system, run.port, request)
        if status != http.HTTPStatus.OK:
            raise WrongAnswerError(f"{size} × {kind}: {status} {body[:300]!r}")
        expected = list(labels[first : first + size])
        if system.role != "yardstick" and system.labels(body) != expected:
            raise WrongAnswerError(f"{size} × {kind}: expected {expected}, got {body[:300]!r}")

    for kind in system.kinds:
        check_one(kind, 0, 1)
        check_one(kind, 0, MANY)
    # Requests that are answered as one batch must get back what is theirs.
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(lambda first: check_one("png", first, 1), range(len(images))))


@contextmanager
def more_callers(port: int, request: Request) -> Iterator[Callable[[], Refusals]]:
    """A few ask over and over meanwhile; the function says what came of it."""
    stop = threading.Event()
    answered: list[float] = []
    refused: list[float] = []
    other: list[int] = []

    def probe() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        while not stop.wait(_PROBE_PAUSE_S):
            started = time.perf_counter()
            try:
                headers = {"Content-Type": request.content_type}
                connection.request("POST", request.path, request.body, headers)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                other.append(0)
                continue
            taken = 1e3 * (time.perf_counter() - started)
            if response.status == http.HTTPStatus.OK:
                answered.append(taken)
            elif response.status == _TOO_MANY:
                refused.append(taken)
            else:
                other.append(response.status)
        connection.close()

    threads = [threading.Thread(target=probe, daemon=True) for _ in range(_PROBES)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: Refusals(
            answered_ms=tuple(answered), refused_ms=tuple(refused), other=len(other)
        )
    finally:
        stop.set()
        for thread in threads:
            thread.join(_TIMEOUT_S)


def _call(port: int, request: Request) -> tuple[int, bytes]:
    # A frame is five bytes and the message.
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary(request.path)
        try:
            answer: bytes = method(request.body[5:], timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise ConnectionError(f"{error.code().name}: {error.details()}") from error
    return http.HTTPStatus.OK, answer
