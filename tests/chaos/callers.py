"""Clients that call a service without a pause, and judge what they get.

Each request must get its own right answer, or an error in the format of its API. A request is lost
if its connection ends without a response, or none comes within TIMEOUT_S.
"""

import contextlib
import http.client
import itertools
import json
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rockstar_client.errors import CallError
from rockstar_client.grpc import GrpcClient
from rockstar_client.http import HttpClient
from tests.chaos.service import MODEL, Service

TIMEOUT_S = 30.0
# Between two requests of a caller, to leave room for what the faults start.
_PAUSE_S = 0.02
# How long all answers must be right after a fault, in seconds.
_LATE_S = 1.0
# Batches differ by rounding.
_TOLERANCE = 1e-3
# What a client may be told while something is broken; 500 would be a bug.
_ERRORS = (429, 502, 503, 504)
KINDS = ("png", "png", "png, new connection", "v1", "v2", "HttpClient", "GrpcClient")

Outcome = Literal["right", "error", "lost", "wrong"]


@dataclass(frozen=True)
class Image:
    """A PNG, what the model's input is for it, and what the model predicts."""

    png: bytes
    tensor: NDArray[np.float32]
    label: str
    score: float


@dataclass(frozen=True)
class Request:
    """A request and its outcome; times are monotonic seconds."""

    caller: str
    started: float
    ended: float
    outcome: Outcome
    detail: str
    version: int = 0


class _WrongAnswerError(Exception):
    """An answer that is not the right one, or an error in another format."""


class _ReportedError(Exception):
    """An error that the service reports as it should."""


@dataclass
class Callers:
    """Threads that call a service until the context ends.

    Attributes:
        kinds: of the callers.
        requests: what they sent.
    """

    service: Service
    images: Sequence[Image]
    kinds: Sequence[str] = KINDS
    requests: list[Request] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Callers":
        self._threads = [
            threading.Thread(target=self._run, args=(kind, number), daemon=True)
            for number, kind in enumerate(self.kinds)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)

    def are_right_since(self, moment: float) -> bool:
        """Whether each caller has sent two requests since then, and all of late were right.

        Each worker connects to the model server again by itself, so one right answer is not enough.
        """
        since = [each for each in list(self.requests) if each.started > moment]
        late = time.monotonic() - _LATE_S
        counts = Counter(each.caller for each in since)
        is_over = late > moment and all(counts[kind] > 1 for kind in self.kinds)
        return is_over and all(each.outcome == "right" for each in since if each.ended > late)

    def _run(self, kind: str, number: int) -> None:
        with contextlib.closing(_caller(kind, self.service)) as calls:
            next(calls)
            for turn in itertools.count(number):
                if self._done.wait(_PAUSE_S):
                    return
                image, started, version = self.images[turn % len(self.images)], time.monotonic(), 0
                outcome: Outcome = "right"
                detail = ""
                try:
                    version = calls.send((image, f"{number}-{turn}"))
                except _ReportedError as error:
                    outcome, detail = "error", str(error)
                except _WrongAnswerError as error:
                    outcome, detail = "wrong", str(error)
                except (OSError, http.client.HTTPException) as error:
                    outcome, detail = "lost", repr(error)
                if outcome != "right":
                    # A generator ends with its exception.
                    calls = _caller(kind, self.service)
                    next(calls)
                self.requests.append(
                    Request(kind, started, time.monotonic(), outcome, detail[:300], version)
                )


def _caller(kind: str, service: Service) -> "Calls":
    if kind == "HttpClient":
        return _client(lambda: HttpClient(service.url))
    if kind == "GrpcClient":
        return _client(lambda: GrpcClient(service.grpc))
    post = {"v1": _predict, "v2": _infer}.get(kind, _post)
    return _raw(service, post, keep=kind != "png, new connection")


# Takes an image and a request id; yields the version that answered, 0 if it is unknown.
Calls = Generator[int, tuple[Image, str], None]


def _client(connect: Callable[[], Any]) -> Calls:
    """Calls a client of ours, with its retries."""
    with connect() as client:
        version = 0
        while True:
            image, _ = yield version
            try:
                answer = client.predict(MODEL, image.png, top=1, timeout=TIMEOUT_S)
            except CallError as error:
                if type(error) is CallError or error.code.name in ("INTERNAL", "UNKNOWN"):
                    raise _WrongAnswerError(f"{type(error).__name__}: {error}") from error
                raise _ReportedError(f"{type(error).__name__}: {error}") from error
            (prediction,) = answer.predictions
            _check(image, prediction.label, prediction.score)
            version = answer.version


def _raw(service: Service, call: Callable[..., int], *, keep: bool) -> Calls:
    """Sends requests over one connection, or each over a new one."""
    connection = http.client.HTTPConnection("127.0.0.1", service.ports[0], timeout=TIMEOUT_S)
    version = 0
    with contextlib.closing(connection):
        while True:
            image, request_id = yield version
            # As every client of HTTP does: a connection that was closed meanwhile is not used again.
            closed = connection.sock and select.select([connection.sock], [], [], 0)[0]
            if closed or not keep:
                connection.close()
            version = call(connection, image, request_id)


def _exchange(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes,
    content_type: str,
    request_id: str,
) -> Any:
    headers = {"Content-Type": content_type, "X-Request-ID": request_id}
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    content = response.read()
    answered = response.getheader("X-Request-ID")
    text = f"{response.status} {content.decode(errors='replace')}"
    if answered != request_id:
        raise _WrongAnswerError(f"the answer to {answered}, not {request_id}: {text}")
    document = json.loads(content) if "json" in (response.getheader("Content-Type") or "") else None
    if response.status == http.client.OK:
        return document
    if response.status not in _ERRORS or not isinstance(document, dict):
        raise _WrongAnswerError(text)
    if not (document.get("error") or (document.get("detail") and document.get("request_id"))):
        raise _WrongAnswerError(text)
    raise _ReportedError(text)


def _post(connection: http.client.HTTPConnection, image: Image, request_id: str) -> int:
    answer = _exchange(connection, f"/predict/{MODEL}", image.png, "image/png", request_id)
    (prediction,) = answer["predictions"]
    _check(image, prediction["label"], prediction["score"])
    return int(answer["version"])


def _predict(connection: http.client.HTTPConnection, image: Image, request_id: str) -> int:
    body = json.dumps({"instances": [image.tensor.tolist()]}).encode()
    path = f"/v1/models/{MODEL}:predict"
    answer = _exchange(connection, path, body, "application/json", request_id)
    (row,) = answer["predictions"]
    _check(image, image.label, max(row))
    return 0


def _infer(connection: http.client.HTTPConnection, image: Image, request_id: str) -> int:
    tensor = {
        "name": "image",
        "shape": [1, *image.tensor.shape],
        "datatype": "FP32",
        "data": image.tensor.ravel().tolist(),
    }
    body = json.dumps({"inputs": [tensor]}).encode()
    path = f"/v2/models/{MODEL}/infer"
    answer = _exchange(connection, path, body, "application/json", request_id)
    (output,) = answer["outputs"]
    _check(image, image.label, max(output["data"]))
    return int(answer["model_version"])


def _check(image: Image, label: str, score: float) -> None:
    if label != image.label or abs(score - image.score) > _TOLERANCE:
        raise _WrongAnswerError(
            f"expected {image.label} ({image.score:.4f}), got {label} ({score:.4f})"
        )
