"""Errors of gRPC calls."""

from contextlib import nullcontext
from typing import Any, cast
from unittest.mock import Mock

import grpc
import numpy as np
import pytest

from rockstar_serving.model_server.examples import Classification
from rockstar_serving.model_server.grpc_service import classification_message, guard
from tfs_api.services import PREDICT
from tfs_api.status import Code, StatusError


class AbortedError(Exception):
    pass


class Context:
    def __init__(self, *, active: bool = True) -> None:
        self._active = active
        self.aborted: tuple[grpc.StatusCode, str] | None = None

    def is_active(self) -> bool:
        return self._active

    def time_remaining(self) -> float | None:
        return None

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.aborted = code, details
        raise AbortedError


def call(behaviour: Any, context: Any, data: bytes = b"") -> Any:
    return guard(PREDICT, behaviour)(data, context)


def test_nothing_starts_for_a_disconnected_caller() -> None:
    context = Context(active=False)
    started: list[object] = []

    def begin(*arguments: object) -> None:
        started.append(arguments)

    with pytest.raises(AbortedError):
        call(begin, context)
    assert not started
    assert context.aborted is not None
    assert context.aborted[0] == grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("code", [code for code in Code if code != Code.OK])
def test_every_code_has_its_grpc_status(code: Code) -> None:
    def fail(*_: object) -> None:
        raise StatusError(code, "why")

    context = Context()
    with pytest.raises(AbortedError):
        call(fail, context)
    assert context.aborted == (grpc.StatusCode[code.name], "why")


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("e" * 1024, "e" * 1024),
        ("e" * 1025, "e" * 1024 + "...TRUNCATED"),
        ("é" * 600, "é" * 512 + "...TRUNCATED"),
        ("e" + "é" * 600, "e" + "é" * 511 + "...TRUNCATED"),  # not inside a character
        ("\ud800", "\ud800"),
        ("\ud800" * 1025, "?" * 1024 + "...TRUNCATED"),
    ],
    ids=["short", "long", "é", "eé", "surrogate", "surrogates"],
)
def test_long_messages_are_cut(message: str, sent: str) -> None:
    """As in TensorFlow Serving's grpc_status_util.cc."""

    def fail(*_: object) -> None:
        raise StatusError(Code.INVALID_ARGUMENT, message)

    context = Context()
    with pytest.raises(AbortedError):
        call(fail, context)
    assert context.aborted == (grpc.StatusCode.INVALID_ARGUMENT, sent)


def test_an_internal_error_is_logged_but_not_returned(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    context = Context()
    with pytest.raises(AbortedError):
        call(fail, context)
    assert context.aborted == (grpc.StatusCode.INTERNAL, "internal error")
    assert "secret" in caplog.text


def test_a_message_that_cannot_be_parsed_is_one_line_in_the_log(caplog):
    context = Context()
    with pytest.raises(AbortedError):
        call(lambda *_: None, context, b"\xff\xff")
    assert context.aborted == (grpc.StatusCode.INTERNAL, "Exception deserializing request!")
    (record,) = caplog.records
    assert record.exc_info is None
    assert record.getMessage() == (
        "/tensorflow.serving.PredictionService/Predict: a request of 2 bytes cannot be parsed"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, Code.OK),
        (StatusError(Code.NOT_FOUND, "no"), Code.NOT_FOUND),
        (RuntimeError("no"), Code.INTERNAL),
    ],
)
def test_requests_are_counted(error: Exception | None, code: Code) -> None:
    request = PREDICT.request()
    request.model_spec.name = "m"
    observer = Mock()
    handler = guard(PREDICT, Mock(side_effect=error), observer)
    with nullcontext() if error is None else pytest.raises(AbortedError):
        handler(request.SerializeToString(), cast("grpc.ServicerContext", Context()))
    ((*event, seconds),) = (call.args for call in observer.request.call_args_list)
    assert event == ["m", "Predict", "GRPC", code]
    assert seconds >= 0


def test_labels_that_are_no_text_are_refused() -> None:
    label = b"\xff".decode("utf-8", "surrogateescape")
    with pytest.raises(StatusError, match="is not UTF-8 text") as caught:
        classification_message(Classification([[label]], np.zeros((1, 1), np.float32), "s"))
    assert caught.value.code == Code.INVALID_ARGUMENT
