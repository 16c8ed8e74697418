"""LiteRT behind the engine's interface."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.api.signature import Signature, TensorSpec
from serving.model_server.engines.engine import LoadError
from serving.model_server.engines.litert import LiteRTEngine
from tests.model_fixtures import CLASSES, SIDE, document, probabilities, toy_model, write_version


@pytest.fixture
def engine(tmp_path: Path) -> LiteRTEngine:
    return LiteRTEngine(write_version(tmp_path, 5), interpreters=2)


def shapes(specs: dict[str, TensorSpec]) -> Any:
    return {name: (spec.dtype, spec.shape) for name, spec in specs.items()}


def test_signatures(engine: LiteRTEngine) -> None:
    assert set(engine.signatures) == {"serving_default", "contract"}
    predict: Signature = engine.signatures["serving_default"]
    assert shapes(dict(predict.inputs)) == {"image": (np.float32, (-1, SIDE, SIDE, 1))}
    assert shapes(dict(predict.outputs)) == {"probabilities": (np.float32, (-1, CLASSES))}
    contract = engine.signatures["contract"]
    assert shapes(dict(contract.inputs)) == {"query": (np.int32, (-1,))}
    assert shapes(dict(contract.outputs)) == {"contract": (object, (-1,))}


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_run(engine: LiteRTEngine, batch: int) -> None:
    images = np.random.default_rng(1).random((batch, SIDE, SIDE, 1), np.float32)
    outputs = engine.run("serving_default", {"image": images}, ["probabilities"])
    assert outputs["probabilities"].shape == (batch, CLASSES)
    if batch:
        np.testing.assert_allclose(outputs["probabilities"], probabilities(images), rtol=1e-5)


def test_strings_are_bytes(engine: LiteRTEngine) -> None:
    outputs = engine.run("contract", {"query": np.zeros(2, np.int32)}, ["contract"])
    assert outputs["contract"].dtype == object
    assert outputs["contract"].tolist() == [document(5).encode()] * 2


def test_outputs_are_the_callers(engine: LiteRTEngine) -> None:
    ones = np.ones((1, SIDE, SIDE, 1), np.float32)
    first = engine.run("serving_default", {"image": ones}, ["probabilities"])["probabilities"]
    kept = first.copy()
    engine.run("serving_default", {"image": -ones}, ["probabilities"])
    np.testing.assert_array_equal(first, kept)


def test_threads_do_not_disturb_each_other(engine: LiteRTEngine) -> None:
    together = threading.Barrier(4)

    def call(seed: int) -> None:
        images = np.random.default_rng(seed).random((seed % 3 + 1, SIDE, SIDE, 1), np.float32)
        together.wait()
        for _ in range(50):
            outputs = engine.run("serving_default", {"image": images}, ["probabilities"])
            np.testing.assert_allclose(outputs["probabilities"], probabilities(images), rtol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(4)))


def test_a_failed_run_does_not_use_the_pool_up(engine: LiteRTEngine) -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="number of inputs"):
            engine.run("serving_default", {}, ["probabilities"])
    assert engine.run("contract", {"query": np.zeros(1, np.int32)}, ["contract"])


def test_the_model_outlives_its_folder(tmp_path: Path) -> None:
    folder = write_version(tmp_path, 5)
    engine = LiteRTEngine(folder, interpreters=2)
    (folder / "model.tflite").write_bytes(b"")
    engine._idle.clear()  # as if all interpreters were busy
    assert engine.run("contract", {"query": np.zeros(1, np.int32)}, ["contract"])


def test_no_model_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"model\.tflite is missing: export the model"):
        LiteRTEngine(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"TFL3", b"PK\x03\x04 not a model at all", b"\0\0\0\0TFL3" + b"x" * 100],
    ids=["empty", "short", "zip", "mark only"],
)
def test_garbage(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(LoadError, match=r"model\.tflite is .*: export it again"):
        LiteRTEngine(write_version(tmp_path, 1, content))


@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.99])
def test_truncated(tmp_path: Path, part: float) -> None:
    model = toy_model()
    with pytest.raises(LoadError, match="export it again"):
        LiteRTEngine(write_version(tmp_path, 1, model[: int(len(model) * part)]))
