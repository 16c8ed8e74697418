"""Single requests: readiness, correctness, and latency during a load."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import grpc

from benchmarks.serving.plan import MANY
from benchmarks.serving.results import Probes
from benchmarks.serving.systems import Image, Kind, Request, Run, System

_TIMEOUT_S = 30.0
_PAUSE_S = 0.01
# Probing clients during a load, and the pause between the requests of each.
_PROBES, _PROBE_PAUSE_S = 4, 0.02
_CONCURRENCY = 16


class WrongResponseError(Exception):
    """A system returned an error, or a different label than the model."""


class NotReadyError(Exception):
    """A system exited, or did not respond in time."""


def send(system: System, port: int, request: Request) -> tuple[int, bytes]:
    """Send a request; returns the HTTP status and body, or 200 and the message for gRPC.

    Raises:
        OSError: no response.
    """
    if system.protocol == "grpc":
        return _call(port, request)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)) as connection:
        try:
            return _exchange(connection, request)
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error


def wait_until_ready(
    system: System, port: int, request: Request, alive: Callable[[], bool], timeout: float
) -> None:
    """Repeat a request until its response is good.

    Raises:
        NotReadyError: the system exited, or the timeout expired; with the last response.
    """
    deadline = time.monotonic() + timeout
    last = "no connection"
    while alive() and time.monotonic() < deadline:
        try:
            status, body = send(system, port, request)
        except OSError as error:
            last = str(error)
        else:
            if status == http.HTTPStatus.OK:
                return
            last = f"{status} {body[:200]!r}"
        time.sleep(_PAUSE_S)
    reason = f"not ready within {timeout:g} s" if alive() else "exited"
    raise NotReadyError(f"{reason}; last response: {last}")


def check(system: System, run: Run, images: Sequence[Image], labels: Sequence[str]) -> None:
    """Compare responses to all kinds of requests, single and concurrent, with the model's labels.

    Raises:
        WrongResponseError: an error, or a different label.
    """

    def check_one(kind: Kind, first: int, size: int) -> None:
        request = system.request(run, kind, images[first : first + size])
        status, body = send(system, run.port, request)
        if status != http.HTTPStatus.OK:
            raise WrongResponseError(f"{size} × {kind}: {status} {body[:300]!r}")
        expected = list(labels[first : first + size])
        if system.role != "yardstick" and system.labels(body) != expected:
            raise WrongResponseError(f"{size} × {kind}: expected {expected}, got {body[:300]!r}")

    for kind in system.kinds:
        if kind != "explain":
            check_one(kind, 0, 1)
            check_one(kind, 0, MANY)
    # Batched requests must each get their own results.
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        list(pool.map(lambda first: check_one("png", first, 1), range(len(images))))


@contextmanager
def probes(port: int, request: Request) -> Iterator[Callable[[], Probes]]:
    """Repeat a request from a few clients in the background; yields a function for the results."""
    stop = threading.Event()
    good: list[float] = []
    rejected: list[float] = []
    other: list[int] = []

    def probe() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        while not stop.wait(_PROBE_PAUSE_S):
            started = time.perf_counter()
            try:
                status, _ = _exchange(connection, request)
            except (OSError, http.client.HTTPException):
                connection.close()
                other.append(0)
                continue
            taken = 1e3 * (time.perf_counter() - started)
            if status == http.HTTPStatus.OK:
                good.append(taken)
            elif status == http.HTTPStatus.TOO_MANY_REQUESTS:
                rejected.append(taken)
            else:
                other.append(status)
        connection.close()

    threads = [threading.Thread(target=probe, daemon=True) for _ in range(_PROBES)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: Probes(good_ms=tuple(good), rejected_ms=tuple(rejected), other=len(other))
    finally:
        stop.set()
        for thread in threads:
            thread.join(_TIMEOUT_S)


def _exchange(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    connection.request(request.method, request.path, request.body, request.all_headers)
    response = connection.getresponse()
    return response.status, response.read()


def _call(port: int, request: Request) -> tuple[int, bytes]:
    # A frame is a header of five bytes and the message.
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary(request.path)
        try:
            response: bytes = method(request.body[5:], timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise ConnectionError(f"{error.code().name}: {error.details()}") from error
    return http.HTTPStatus.OK, response
