"""Which versions are batched, and that nothing of them stays."""

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from rockstar_serving.model_server.batching.batcher import Batcher
from rockstar_serving.model_server.batching.parameters import BatchingParameters, QueueParameters
from rockstar_serving.model_server.engines.engine import LoadError
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.options import BatchingOptions
from tests.model_fixtures import SIDE, document, write_version

PARAMETERS = BatchingParameters(QueueParameters(max_batch_size=5), threads=2)


def options(*, enabled: bool = True, per_model: bool = False) -> BatchingOptions:
    return BatchingOptions(enabled, PARAMETERS, per_model)


def test_nothing_is_batched_unless_asked_for(tmp_path: Path) -> None:
    batcher = Batcher(options(enabled=False))
    engine = LiteRTEngine(write_version(tmp_path, 1))
    assert batcher.parameters(tmp_path / "1") is None
    assert batcher.wrap(engine, None) is engine


def test_every_version_is_batched_as_the_server_says(tmp_path: Path) -> None:
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 7 }")
    assert Batcher(options()).parameters(tmp_path) == PARAMETERS.queue


def test_each_version_as_it_says_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batcher = Batcher(options(per_model=True))
    assert batcher.parameters(tmp_path) is None
    path = tmp_path / "batching_params.pbtxt"
    path.write_text("max_batch_size { value: 7 } num_batch_threads { value: 9 }")
    with caplog.at_level("INFO"):
        parameters = batcher.parameters(tmp_path)
    assert parameters is not None
    assert parameters.max_batch_size == 7
    assert caplog.messages == [
        f"batching parameters file {path}: without effect here: num_batch_threads"
    ]


def test_a_version_with_a_wrong_file_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 0 }")
    with pytest.raises(LoadError, match=r"batching_params\.pbtxt: max_batch_size must be positive"):
        Batcher(options(per_model=True)).parameters(tmp_path)


def test_nothing_stays_of_versions_that_are_gone(tmp_path: Path) -> None:
    threads = threading.active_count()
    batcher = Batcher(options())
    gone = []
    image = np.zeros((1, SIDE, SIDE, 1), np.float32)
    query = np.zeros(2, np.int32)
    folder = write_version(tmp_path, 1)
    kept = batcher.wrap(LiteRTEngine(folder), PARAMETERS.queue)
    for _ in range(20):
        engine = batcher.wrap(LiteRTEngine(folder), batcher.parameters(folder))
        engine.run("serving_default", {"image": image}, ["probabilities"])
        outputs = engine.run("contract", {"query": query}, ["contract"])
        assert outputs["contract"].tolist() == [document(1).encode()] * 2
        assert threading.active_count() == threads + 2
        gone.append(weakref.ref(engine))
        engine.close()
    del engine
    gc.collect()
    assert [reference() for reference in gone] == [None] * 20
    kept.close()
    assert threading.active_count() == threads
