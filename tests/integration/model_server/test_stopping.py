"""What becomes of requests when the server is told to stop."""

import signal
import threading
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.options import GrpcOptions, RestOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.fake_engine import FakeEngine, FakeLoader, add_version
from tests.integration.model_server.conftest import Process, Start, ask
from tests.model_fixtures import write_version
from tests.waiting import until
from tfs_api.services import PREDICT
from tfs_api.tensors import to_proto

CALLERS = 8


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    write_version(tmp_path / "toy", 1)
    return tmp_path / "toy"


def predict(channel: grpc.Channel) -> Any:
    return channel.unary_unary(
        PREDICT.path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=PREDICT.parse_response,
    )


def request(model: str, signature: str, name: str, array: Any) -> Any:
    message = PREDICT.request()
    message.model_spec.name, message.model_spec.signature_name = model, signature
    message.inputs[name].CopyFrom(to_proto(array))
    return message


CONTRACT = request("default", "contract", "query", np.zeros(1, np.int32))
DOUBLE = request("m", "", "x", np.ones((1, 2), np.float32))


class Load:
    """Callers that each ask one thing after the other until it is refused."""

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
        predict(channel)(CONTRACT, timeout=60)
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
    # Each caller ends with a refusal that says "not here": nothing was begun and not answered.
    assert outcomes["gRPC UNAVAILABLE"] == CALLERS
    # The kernel resets what connects between the last accept and the close of the listener.
    reset = outcomes.pop("REST ConnectionResetError", 0)
    assert reset <= 1
    assert outcomes["REST ConnectionRefusedError"] == CALLERS - reset
    assert set(outcomes) == {"answered", "gRPC UNAVAILABLE", "REST ConnectionRefusedError"}


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def server(tmp_path: Path, loader: FakeLoader) -> Iterator[ModelServer]:
    """One call at a time."""
    add_version(tmp_path / "m", 1)
    options = ServerOptions(
        models=(ModelConfig("m", tmp_path / "m"),),
        grpc=GrpcOptions(threads=1),
        rest=RestOptions(port=None),
    )
    with ModelServer(options, load=loader) as server:
        yield server


def test_calls_in_the_queue_are_answered_and_later_ones_refused(
    server: ModelServer, loader: FakeLoader
) -> None:
    engine: FakeEngine = loader.engines[1]
    engine.proceed.clear()
    with grpc.insecure_channel(str(server.grpc_address)) as channel:
        queued = [predict(channel).future(DOUBLE, timeout=60) for _ in range(CALLERS)]
        until(engine.entered.is_set, what="one is in the engine")
        # Answered without the thread, after what came before it on the same connection.
        unknown: Any = channel.unary_unary("/none/None")
        with pytest.raises(grpc.RpcError, match="Method not found"):
            unknown(b"", timeout=60)
        finished: list[bool] = []
        stopping = threading.Thread(target=lambda: finished.append(server.stop(grace=60)))
        stopping.start()
        late = predict(channel).future(DOUBLE, timeout=60)
        engine.proceed.set()
        assert [call.result().model_spec.name for call in queued] == ["m"] * CALLERS
        assert late.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK)
        stopping.join()
    assert finished == [True]


def occupied(start: Start, base_path: Path) -> tuple[Process, threading.Thread]:
    """A server with a request in its engine, and who asks."""
    process = start(
        *(f"--model_base_path={base_path}", "--port=auto", "--rest_api_port=auto"),
        module="tests.integration.model_server.slow_server",
    )
    address = process.address()
    caller = threading.Thread(target=over_rest, args=(address["rest"],))
    caller.start()
    folder = process.address_file.parent
    until(lambda: list(folder.glob("entered.*")), what="the request is in the engine")
    return process, caller


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)],
)
def test_the_second_signal_ends_it_at_once(
    start: Start, base_path: Path, first: signal.Signals, second: signal.Signals
) -> None:
    process, caller = occupied(start, base_path)
    process.popen.send_signal(first)
    assert process.popen.stderr
    for line in process.popen.stderr:
        if f"{first.name}: stopping" in line:
            break
    process.popen.send_signal(second)
    code, log = process.finish()
    caller.join()
    assert code == 128 + second
    assert f"{second.name} again: stopped at once" in log
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
