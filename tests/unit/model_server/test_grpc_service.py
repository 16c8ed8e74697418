"""Errors of gRPC calls."""

from typing import Any
from unittest.mock import Mock

import grpc
import numpy as np
import pytest

from rockstar_serving.model_server.examples import Classification
from rockstar_serving.model_server.grpc_service import classification_message, guard, handlers
from rockstar_serving.model_server.options import GrpcOptions
from tfs_api.services import PREDICT, RELOAD_CONFIG
from tfs_api.status import Code, StatusError


class AbortedError(Exception):
    pass


def aborted(behavior: Any, data: bytes = b"", *, active: bool = True, observer: Any = None) -> Any:
    """The code and details with which a call of Predict is aborted."""
    context = Mock(spec=grpc.ServicerContext)
    context.is_active.return_value, context.time_remaining.return_value = active, None
    context.abort.side_effect = AbortedError
    with pytest.raises(AbortedError):
        guard(PREDICT, behavior, observer)(data, context)
    return context.abort.call_args.args


@pytest.mark.parametrize("code", [code for code in Code if code != Code.OK])
def test_every_code_has_its_grpc_status(code: Code) -> None:
    fail = Mock(side_effect=StatusError(code, "why"))
    assert aborted(fail) == (grpc.StatusCode[code.name], "why")


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
    fail = Mock(side_effect=StatusError(Code.INVALID_ARGUMENT, message))
    assert aborted(fail) == (grpc.StatusCode.INVALID_ARGUMENT, sent)


def test_an_internal_error_is_logged_but_not_returned(caplog: pytest.LogCaptureFixture) -> None:
    fail = Mock(side_effect=RuntimeError("secret"))
    assert aborted(fail) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "secret" in caplog.text


def test_a_message_that_cannot_be_parsed_is_one_line_in_the_log(caplog):
    expected = grpc.StatusCode.INTERNAL, "Exception deserializing request!"
    assert aborted(Mock(), b"\xff\xff") == expected
    (record,) = caplog.records
    assert record.exc_info is None
    assert record.getMessage() == (
        "/tensorflow.serving.PredictionService/Predict: a request of 2 bytes cannot be parsed"
    )


def test_labels_that_are_no_text_are_refused() -> None:
    label = b"\xff".decode("utf-8", "surrogateescape")
    with pytest.raises(StatusError, match="is not UTF-8 text") as caught:
        classification_message(Classification([[label]], np.zeros((1, 1), np.float32), "s"))
    assert caught.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:50000", True),
        ("ipv6:%5B::1%5D:50000", True),
        ("ipv6:[::1]:50000", True),
        ("unix:", True),
        ("unix:/run/m.sock", True),
        ("ipv4:127.0.0.6:50000", False),  # the proxy of a service mesh
        ("ipv4:10.0.0.1:50000", False),
        ("ipv6:%5Bfd00::1%5D:50000", False),
        ("ipv4:127.0.0.1.example:5", False),
        ("", False),
    ],
)
def test_only_clients_on_this_machine_may_change_the_models(peer: str, local: bool) -> None:
    """Unless the flag allows all clients, or none."""
    request = RELOAD_CONFIG.request()
    request.config.model_config_list.SetInParent()
    context = Mock(peer=lambda: peer, time_remaining=lambda: None)
    context.abort.side_effect = AbortedError
    for allowed, passes in {"local": local, "all": True, "none": False}.items():
        core = Mock()
        reload = handlers(core, GrpcOptions(reloads_from=allowed))[RELOAD_CONFIG.path].unary_unary
        if passes:
            reload(request.SerializeToString(), context)
        else:
            with pytest.raises(AbortedError):
                reload(request.SerializeToString(), context)
            code, message = context.abort.call_args.args
            assert code == grpc.StatusCode.PERMISSION_DENIED
            assert f"--allow_config_reload_from={allowed}" in message
        assert core.reload.called == passes
