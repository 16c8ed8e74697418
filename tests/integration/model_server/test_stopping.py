"""Requests during shutdown."""

import signal
import threading
import urllib.error
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from rockstar_serving.model_server.options import GrpcOptions
from tests.fake_engine import FakeLoader
from tests.grpc_calls import predict_request, stub
from tests.integration.model_server.conftest import Start, ask, fake_server
from tests.waiting import until
from tfs_api.services import PREDICT

CALLERS = 8


CONTRACT = predict_request("default", "contract", query=np.zeros(1, np.int32))
DOUBLE = predict_request("m", x=np.ones((1, 2), np.float32))


class Load:
    """Callers that each send one request after the other until one is rejected."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(2 * CALLERS)

    def start(self, ask: Callable[[], str]) -> None:
        self._pool.submit(self._run, ask)

    def outcome(self) -> Counter[str]:
        self._pool.shutdown()
        return self.outcomes

    def _run(self, ask: Callable[[], str]) -> None:
        outcome = "answered"
        while outcome == "answered":
            outcome = ask()
            self.outcomes[outcome] += 1


def over_grpc(channel: grpc.Channel) -> str:
    try:
        stub(channel, PREDICT)(CONTRACT, timeout=60)
    except grpc.RpcError as error:
        failed: Any = error
        return f"gRPC {failed.code().name}"
    return "answered"


def over_rest(address: str) -> str:
    body = {"signature_name": "contract", "instances": [0]}
    try:
        status, _ = ask(address, "/v1/models/default:predict", body)
    except urllib.error.URLError as error:
        return f"REST {type(error.reason).__name__}"
    except ConnectionError as error:
        return f"REST {type(error).__name__}"
    return "answered" if status == 200 else f"REST {status}"


def test_no_accepted_request_fails_under_load(start: Start, base_path: Path) -> None:
    process = start(f"--model_base_path={base_path}", "--port=auto", "--rest_api_port=auto")
    address = process.address()
    load = Load()
    with (
        grpc.insecure_channel(address["grpc"], [("test.number", 1)]) as one,
        grpc.insecure_channel(address["grpc"], [("test.number", 2)]) as other,
    ):
        for channel in [one, other] * (CALLERS // 2):
            load.start(lambda channel=channel: over_grpc(channel))  # type: ignore[misc]
        for _ in range(CALLERS):
            load.start(lambda: over_rest(address["rest"]))
        until(lambda: load.outcomes["answered"] > 200, what="the load runs")
        process.popen.send_signal(signal.SIGTERM)
        outcomes = load.outcome()
    assert process.finish()[0] == 0
    # Each caller ends with a rejection, never with an unfinished request.
    assert outcomes["gRPC UNAVAILABLE"] == CALLERS
    # The kernel resets connections between the last accept and the close of the listener.
    reset = outcomes.pop("REST ConnectionResetError", 0)
    assert reset <= 1
    assert outcomes["REST ConnectionRefusedError"] == CALLERS - reset
    assert set(outcomes) == {"answered", "gRPC UNAVAILABLE", "REST ConnectionRefusedError"}


def test_queued_calls_finish_and_later_ones_are_rejected(
    tmp_path: Path, loader: FakeLoader
) -> None:
    with (
        fake_server(tmp_path, loader, GrpcOptions(threads=1)) as server,
        grpc.insecure_channel(str(server.grpc_address)) as channel,
    ):
        engine = loader.engines[1]
        engine.proceed.clear()
        queued = [stub(channel, PREDICT).future(DOUBLE, timeout=60) for _ in range(CALLERS)]
        until(engine.entered.is_set, what="one is in the engine")
        # Handled without the thread, after earlier requests on the same connection.
        unknown: Any = channel.unary_unary("/none/None")
        with pytest.raises(grpc.RpcError, match="Method not found"):
            unknown(b"", timeout=60)
        finished: list[bool] = []
        stopping = threading.Thread(target=lambda: finished.append(server.stop(grace=60)))
        stopping.start()
        late = stub(channel, PREDICT).future(DOUBLE, timeout=60)
        engine.proceed.set()
        assert [call.result().model_spec.name for call in queued] == ["m"] * CALLERS
        assert late.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK)
        stopping.join()
    assert finished == [True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it_at_once(
    start: Start, base_path: Path, number: signal.Signals
) -> None:
    """Even with a request in its engine."""
    process = start(
        *(f"--model_base_path={base_path}", "--port=auto", "--rest_api_port=auto"),
        module="tests.integration.model_server.slow_server",
    )
    caller = threading.Thread(target=over_rest, args=(process.address()["rest"],))
    caller.start()
    folder = process.address_file.parent
    until(lambda: list(folder.glob("entered.*")), what="the request is in the engine")
    process.popen.send_signal(number)
    assert process.popen.stderr
    for line in process.popen.stderr:
        if f"{number.name}: stopping" in line:
            break
    process.popen.send_signal(number)
    code, log = process.finish()
    caller.join()
    assert code == 128 + number
    assert f"{number.name} again: stopped at once" in log
    assert not process.address_file.exists()


def test_a_signal_while_models_are_loaded(start: Start, base_path: Path, tmp_path: Path) -> None:
    process = start(
        *(f"--model_base_path={base_path}", "--port=auto"),
        module="tests.integration.model_server.slow_start",
    )
    until((tmp_path / "loading").exists, what="it loads")
    process.popen.terminate()
    code, log = process.finish()
    assert code == 0
    assert "SIGTERM while starting: stopped" in log
