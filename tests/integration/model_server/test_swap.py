"""Versions, labels and base paths change under load, and no request fails."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

from rockstar_serving.model_server.engines.engine import Engine, ServableId
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.models.config import All, ModelConfig
from rockstar_serving.model_server.options import BatchingOptions, LoadOptions, ServerOptions
from rockstar_serving.model_server.server import ModelServer
from tests.grpc_calls import predict_request, stub
from tests.integration.model_server.conftest import ask
from tests.model_fixtures import document, write_version
from tests.waiting import until
from tfs_api import services
from tfs_api.messages.model_management_pb2 import ReloadConfigRequest
from tfs_api.tensors import to_array

LAST = 8


class Load:
    """Callers that request `toy` continuously; a failed request fails the test."""

    def __init__(self, server: ModelServer) -> None:
        self.seen: set[int] = set()
        self._server = server
        self._stop = threading.Event()
        self._callers: list[Future[int]] = []

    @contextmanager
    def running(self, label: str = "") -> Iterator[None]:
        """Run the callers; at the end, every request of each must have succeeded."""
        with ThreadPoolExecutor(4) as pool:
            over_grpc, over_rest = partial(self._grpc, label), partial(self._rest, label)
            self._callers = [pool.submit(c) for c in (over_grpc, over_grpc, over_grpc, over_rest)]
            try:
                yield
            finally:
                self._stop.set()
            assert all(caller.result() > 0 for caller in self._callers)

    def until_answered(self, version: int) -> None:
        """Wait until a version has responded, or a caller has failed."""
        until(
            lambda: version in self.seen or any(caller.done() for caller in self._callers),
            what=f"version {version}",
        )

    def _grpc(self, label: str) -> int:
        count = 0
        request = predict_request("toy", "contract", query=np.zeros(1, np.int32))
        if label:
            request.model_spec.version_label = label
        with grpc.insecure_channel(str(self._server.grpc_address)) as channel:
            predict = stub(channel, services.PREDICT)
            while not self._stop.is_set():
                response = predict(request, timeout=30)
                version = response.model_spec.version.value
                answer = to_array(response.outputs["contract"]).tolist()
                # The response names the version that produced it.
                assert answer == [document(version).encode()]
                self.seen.add(version)
                count += 1
        return count

    def _rest(self, label: str) -> int:
        count = 0
        body = {"signature_name": "contract", "instances": [0]}
        path = f"/v1/models/toy{f'/labels/{label}' if label else ''}:predict"
        while not self._stop.is_set():
            status, answer = ask(self._server.rest_address, path, body)
            assert status == 200, answer
            count += 1
        return count


def coming_and_going(base_path: Path, server: ModelServer) -> None:
    load = Load(server)
    with load.running():
        for version in range(2, LAST + 1):
            write_version(base_path, version)
            load.until_answered(version)
    assert load.seen >= set(range(2, LAST + 1))


class Counting:
    """Loads with LiteRT, and tracks which engines are still in memory."""

    def __init__(self) -> None:
        self._engines: weakref.WeakSet[LiteRTEngine] = weakref.WeakSet()

    def __call__(self, servable_id: ServableId, folder: Path) -> Engine:
        engine = LiteRTEngine(folder)
        self._engines.add(engine)
        return engine

    def alive(self) -> int:
        gc.collect()
        return len(self._engines)


@pytest.mark.parametrize("threads", [0, 2])
def test_versions_come_and_go(tmp_path: Path, threads: int) -> None:
    base_path = tmp_path / "toy"
    write_version(base_path, 1)
    loading = LoadOptions(
        poll_seconds=0.01, settle_seconds=0, load_threads=threads, unload_threads=threads
    )
    engines = Counting()
    options = ServerOptions((ModelConfig("toy", base_path),), load=loading)
    with ModelServer(options, engines) as server:
        coming_and_going(base_path, server)
        until(lambda: engines.alive() == 1, what="only the last version is in memory")


@pytest.mark.slow
def test_versions_come_and_go_under_batching(tmp_path: Path) -> None:
    write_version(tmp_path / "toy", 1)
    options = ServerOptions(
        (ModelConfig("toy", tmp_path / "toy"),),
        load=LoadOptions(poll_seconds=0.01, settle_seconds=0),
        batching=BatchingOptions(enabled=True),
    )
    with ModelServer(options) as server:
        coming_and_going(tmp_path / "toy", server)


def configure(server: ModelServer) -> Callable[[ReloadConfigRequest], None]:
    channel = grpc.insecure_channel(str(server.grpc_address))
    call = stub(channel, services.RELOAD_CONFIG)

    def configure(request: ReloadConfigRequest) -> None:
        assert call(request, timeout=30).status.error_code == 0

    return configure


def test_labels_move(tmp_path: Path) -> None:
    base_path = tmp_path / "toy"
    for version in range(1, LAST + 1):
        write_version(base_path, version)
    config = ModelConfig("toy", base_path, All(), {"stable": 1})
    loading = LoadOptions(settle_seconds=0, allow_labels_for_unavailable=True)
    with ModelServer(ServerOptions((config,), load=loading)) as server:
        load, reload = Load(server), configure(server)
        with load.running("stable"):
            for version in range(2, LAST + 1):
                request = ReloadConfigRequest()
                model = request.config.model_config_list.config.add(
                    name="toy", base_path=str(base_path), model_platform="tensorflow"
                )
                # The label's previous version is unloaded when the label moves.
                model.model_version_policy.specific.versions.extend(range(version, LAST + 1))
                model.version_labels["stable"] = version
                reload(request)
                load.until_answered(version)
        assert load.seen >= set(range(2, LAST + 1))


def test_base_paths_change(tmp_path: Path) -> None:
    for version in range(1, LAST + 1):
        write_version(tmp_path / f"from{version}", version)
    config = ModelConfig("toy", tmp_path / "from1")
    loading = LoadOptions(settle_seconds=0, load_threads=1)
    with ModelServer(ServerOptions((config,), load=loading)) as server:
        load, reload = Load(server), configure(server)
        with load.running():
            for version in range(2, LAST + 1):
                request = ReloadConfigRequest()
                request.config.model_config_list.config.add(
                    name="toy",
                    base_path=str(tmp_path / f"from{version}"),
                    model_platform="tensorflow",
                )
                reload(request)
                load.until_answered(version)
        assert load.seen >= set(range(2, LAST + 1))
