"""What engines, loaders and calls report to an observer."""

from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from rockstar_serving.model_server.core import Core
from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.engine import (
    Arrays,
    Loader,
    LoadError,
    MeasuredEngine,
    Runtime,
    ServableId,
)
from rockstar_serving.model_server.examples import ExamplesQuery, MultiInferenceQuery, Task
from rockstar_serving.model_server.grpc_service import observed_call
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.options import LoadOptions, ServerOptions
from tests.examples_engine import example, load_examples_engine
from tests.fake_engine import FakeEngine, FakeLoader, add_version
from tests.warmup_files import predict_log, write_records
from tfs_api.messages.prediction_pb2 import PredictRequest
from tfs_api.model_ref import ModelRef
from tfs_api.signature import CLASSIFY_METHOD
from tfs_api.status import Code, StatusError


class Listener:
    """Stands for Monitoring: keeps what it hears, but for the times."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def request(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        assert seconds >= 0
        self.heard.append(("request", model, api, entrypoint, code))

    def run(self, model: str, api: str, seconds: float) -> None:
        assert seconds >= 0
        self.heard.append(("run", model, api))

    def graph_run(self, seconds: float, feeds: Arrays, outputs: Arrays) -> None:
        assert seconds >= 0
        self.heard.append(("graph_run", list(feeds), list(outputs)))

    def examples(self, model: str, count: int) -> None:
        self.heard.append(("examples", model, count))

    def load(self, folder: Path, *, loaded: bool, seconds: float) -> None:
        assert seconds >= 0
        self.heard.append(("load", folder, loaded))

    def warmup(self, folder: Path, code: Code, seconds: float, records: int) -> None:
        assert seconds >= 0
        self.heard.append(("warmup", folder, code, records))

    def batching(self, thread_pool_name: str) -> Any:
        self.heard.append(("batching", thread_pool_name))
        return Mock()


@pytest.fixture
def listener() -> Any:
    return Listener()


REQUEST = PredictRequest()
REQUEST.model_spec.name = "m"
NAME = attrgetter("model_spec.name")


def test_calls(listener: Any) -> None:
    call = observed_call(lambda request, _: NAME(request), "Predict", listener, NAME)
    assert call(REQUEST, NO_DEADLINE) == "m"
    assert listener.heard == [("request", "m", "Predict", "GRPC", Code.OK)]


@pytest.mark.parametrize(
    ("error", "code"),
    [(StatusError(Code.NOT_FOUND, "no"), Code.NOT_FOUND), (RuntimeError("no"), Code.INTERNAL)],
)
def test_calls_that_fail(listener: Any, error: Exception, code: Code) -> None:
    def fail(request: PredictRequest, deadline: Deadline) -> None:
        raise error

    with pytest.raises(type(error)):
        observed_call(fail, "Predict", listener, NAME)(REQUEST, NO_DEADLINE)
    assert listener.heard == [("request", "m", "Predict", "GRPC", code)]


def test_engines_tell_of_runs_that_succeed(listener: Any) -> None:
    engine = FakeEngine()
    measured = MeasuredEngine(engine, listener.graph_run)
    assert measured.signatures is engine.signatures
    x = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(measured.run("serving_default", {"x": x}, ["y"])["y"], x * 2)
    with pytest.raises(RuntimeError):
        measured.run("fail", {"x": x}, ["y"])
    assert listener.heard == [("graph_run", ["x"], ["y"])]


def test_what_a_request_for_each_api_tells(listener: Any, tmp_path: Path) -> None:
    add_version(tmp_path, 1)
    manager = Manager(
        [ModelConfig("m", tmp_path)], load_examples_engine, LoadOptions(poll_seconds=0)
    )
    manager.start()
    core, ref, two = Core(manager, observer=listener), ModelRef("m"), [example(x=1.0)] * 2
    core.classify(ref, ExamplesQuery(two))
    core.regress(ref, ExamplesQuery(two, "regress"))
    core.multi_inference(ref, MultiInferenceQuery([Task("m", CLASSIFY_METHOD)], two))
    with pytest.raises(StatusError):
        core.classify(ref, ExamplesQuery([]))
    manager.stop()
    # MultiInference without the time in the engine, as in TensorFlow Serving.
    assert listener.heard == [
        ("run", "m", "Classify"),
        ("examples", "m", 2),
        ("run", "m", "Regress"),
        ("examples", "m", 2),
        ("examples", "m", 2),
    ]


def runtime(load: Loader) -> Runtime:
    """A runtime that is installed and loads version folders with a loader."""
    return Runtime(
        name="fake",
        package="numpy",
        install="",
        files=("model.tflite",),
        reads=(),
        export="",
        rank=lambda _: 0,
        load=lambda folder, _: load(ServableId("m", int(folder.name)), folder),
    )


def test_loads_and_warmups(listener: Any, tmp_path: Path) -> None:
    load = VersionLoader(ServerOptions(()), listener, [runtime(FakeLoader())])
    plain, warm, wrong = (add_version(tmp_path, version) for version in (1, 2, 3))
    broken = add_version(tmp_path, 4, ok=False)
    write_records(warm, [predict_log({"x": [[1.0, 2.0]]})])
    write_records(wrong, [predict_log({"another": [[1.0, 2.0]]})])
    write_records(broken, [b"not read"])
    for folder in (plain, warm):
        load(ServableId("m", int(folder.name)), folder)
    for folder in (wrong, broken):
        with pytest.raises(LoadError):
            load(ServableId("m", int(folder.name)), folder)
    assert listener.heard == [
        ("batching", "batch_threads"),
        ("load", plain, True),
        ("load", warm, True),
        ("graph_run", ["x"], ["y"]),
        ("warmup", warm, Code.OK, 1),
        ("load", wrong, True),
        ("warmup", wrong, Code.INVALID_ARGUMENT, 0),
        ("load", broken, False),
    ]
