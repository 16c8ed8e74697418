"""Observers of gateway events: the interface, the access log and the payload log.

Metrics and tracing are observers with files of their own.
"""

import hashlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec
import numpy as np

from rockstar_client.predictor import Predicted
from rockstar_contract.inputs import to_rows
from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.settings import GatewayConfig
from tfs_api.status import Code

# Shortest time between two lines of a rate-limited logger, in seconds.
LOG_INTERVAL_S = 5.0
# APIs that are called so often that success is not worth a log line.
_QUIET = frozenset({"ops", "metrics", "oip-health", "pages"})

# Why: too many requests wait, a missing or wrong key, a key's rate limit, an open circuit.
Reason = Literal["queue", "key", "rate", "circuit"]

log = logging.getLogger(__name__)


class Call(msgspec.Struct, frozen=True):
    """One call to the model server, by a method of the backend such as "predict" or "contract".

    `rows` is the number of examples, 0 if the method takes none; `code` is OK or that of the error.
    """

    method: str
    model: str
    rows: int
    seconds: float
    code: Code


class PredictionEvent(msgspec.Struct, frozen=True):
    """The prediction of a request's examples by the contract of a model, named without aliases."""

    context: RequestContext
    model: str
    examples: Sequence[Any]
    predicted: Predicted


@dataclass(frozen=True)
class Comparison:
    """The answers of two versions to the same inputs: rows that were compared, and that agree.

    The code is OK if they were compared; RESOURCE_EXHAUSTED if there was no capacity for the copy;
    FAILED_PRECONDITION if they cannot be compared; else that of the copy's error.
    """

    model: str
    code: Code
    rows: int = 0
    agreed: int = 0


class Observer:
    """Base class of observers; override the events of interest.

    Called in the threads that serve requests: be quick and thread-safe. Exceptions are logged and
    do not affect the request.
    """

    def answered(self, context: RequestContext, status: int) -> None:
        """A request was answered, successfully or with an error."""

    def called(self, call: Call) -> None:
        """The model server was called."""

    def joined(self, model: str, requests: int) -> None:
        """Several requests went to the model server in one call, the last one of `called`."""

    def predicted(self, event: PredictionEvent) -> None:
        """A model with a contract predicted the examples of a request."""

    def shadowed(self, comparison: Comparison) -> None:
        """A copy of a request was compared, or could not be made."""

    def refused(self, why: Reason) -> None:
        """A request or call was rejected before any work was done."""


class Observers(Observer):
    """Forwards every event to the observers that override it."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        failures = RateLimitedLogger(log)
        for event in vars(Observer):
            if not event.startswith("_"):
                methods = [
                    getattr(observer, event)
                    for observer in observers
                    if getattr(type(observer), event) is not getattr(Observer, event)
                ]
                setattr(self, event, _forward(event, methods, failures))


def _forward(
    event: str, methods: Sequence[Callable[..., None]], failures: "RateLimitedLogger"
) -> Callable[..., None]:
    def notify(*arguments: object) -> None:
        for method in methods:
            try:
                method(*arguments)
            except OSError as error:  # a full disk fails every request in the same way
                failures.warn("events are not counted or recorded: %s", error)
            except Exception:  # an observer must not affect the request
                observer = type(getattr(method, "__self__", method)).__name__
                log.exception("%s could not take note of %s", observer, event)

    return notify


def observers_for(config: GatewayConfig) -> list[Observer]:
    """The observers that the settings enable; call it in the process that serves."""
    observers: list[Observer] = []
    if config.access_log:
        observers.append(AccessLog(as_json=config.log_format == "json"))
    if config.payload_log:
        observers.append(PayloadLog(Path(config.payload_log), config.payload_share))
    if config.tracing:
        # OpenTelemetry is an optional extra.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from rockstar_serving.gateway.tracing import Spans

        observers.append(Spans(OTLPSpanExporter()))
    return observers


class RateLimitedLogger:
    """Logs warnings of one kind at most every LOG_INTERVAL_S seconds; thread-safe."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._next = 0.0
        self._suppressed = 0

    def warn(
        self, text: str, *arguments: object, extra: Mapping[str, object] | None = None
    ) -> None:
        """Log a warning, or count it as suppressed; the arguments are those of loggers."""
        with self._lock:
            if time.monotonic() < self._next:
                self._suppressed += 1
                return
            self._next = time.monotonic() + LOG_INTERVAL_S
            suppressed, self._suppressed = self._suppressed, 0
        more = f" (and {suppressed} more like it before)" if suppressed else ""
        self._log.warning(text + more, *arguments, extra=extra)


def loggable(path: str) -> str:
    """A path without line breaks and terminal sequences."""
    return path if path.isprintable() else quote(path)


class AccessLog(Observer):
    """Logs each answered request; the JSON format has all fields, the text format a few.

    Probes and scrapes are logged only when they fail, and rate-limited.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._failed_probes = RateLimitedLogger(log)

    def answered(self, context: RequestContext, status: int) -> None:
        """See Observer."""
        quiet = context.api in _QUIET
        level = logging.WARNING if status >= 500 else logging.INFO
        if (quiet and status < 500) or not log.isEnabledFor(level):
            return
        milliseconds = round((time.monotonic() - context.started) * 1000, 3)
        method, path = context.method, context.path
        text = "%s %s %d %.1f ms %s"
        arguments = (method, loggable(path), status, milliseconds, context.request_id)
        fields = _fields(context, status, milliseconds) if self._as_json else None
        if quiet:
            self._failed_probes.warn(text, *arguments, extra=fields)
        else:
            # Without the position in this file, which no line shows and takes a third of the time.
            record = log.makeRecord(log.name, level, "", 0, text, arguments, None, extra=fields)
            log.handle(record)


def _fields(context: RequestContext, status: int, milliseconds: float) -> dict[str, object]:
    return {
        "request_id": context.request_id,
        "trace_id": context.trace.trace_id,
        "method": context.method,
        "path": context.path,
        "status": status,
        "milliseconds": milliseconds,
        **{f"{name}_milliseconds": round(1000 * spent, 3) for name, spent in context.spent.items()},
        "api": context.api,
        "model": context.model,
        "version": context.version,
        "instances": context.instances,
        "caller": context.caller,
        "remote_address": context.remote_address,
    }


class PayloadLog(Observer):
    """Appends a sample of requests and answers to a file, one JSON object per line.

    Images and arrays are recorded as SHA-256 hashes, rows of tables as they were sent. The file may
    be rotated, and several workers may share it.
    """

    def __init__(self, path: Path, share: float) -> None:
        """Record a share of the requests, 0 to 1, in a file that only its owner can read."""
        self._path = path
        self._share = share

    def predicted(self, event: PredictionEvent) -> None:
        """See Observer."""
        if random.random() >= self._share:  # noqa: S311 (a sample, no secret)
            return
        contract = event.predicted.contract
        document = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": event.context.request_id,
            "model": contract.model,
            "version": contract.version,
            "examples": [_payload(example) for example in event.examples],
            "answers": _answers(event.predicted),
        }
        # Opened for each sample so that the file can be rotated; a single append is atomic.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            file.write(msgspec.json.encode(document) + b"\n")


def _payload(example: Any) -> Any:
    if isinstance(example, bytes):
        return {"sha256": hashlib.sha256(example).hexdigest(), "bytes": len(example)}
    if isinstance(example, (dict, str)):
        return example
    if isinstance(example, Exception):
        return {"error": str(example)}
    content = np.ascontiguousarray(example)
    return {"sha256": hashlib.sha256(content.tobytes()).hexdigest(), "shape": list(content.shape)}


def _answers(predicted: Predicted) -> list[Any]:
    labels, outputs = predicted.contract.labels, predicted.outputs
    if predicted.named:
        return to_rows(predicted.named)
    if not labels:
        return [{"value": value} for value in outputs[:, 0].tolist()]
    best = outputs.argmax(axis=1)
    return [
        {"label": labels[index], "score": float(row[index])}
        for index, row in zip(best, outputs, strict=True)
    ]
