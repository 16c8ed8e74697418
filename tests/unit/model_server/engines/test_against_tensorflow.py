"""Every signature of every kind of model, in our engines and in TensorFlow itself."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.api.signature import Signature, TensorSpec
from serving.model_server.engines.engine import Engine
from serving.model_server.engines.litert import LiteRTEngine
from serving.model_server.engines.tensorflow import TensorFlowEngine
from tests.litert_models import LITERT_DTYPES, make_both, make_casts
from tests.saved_models import (
    NUMBERS,
    SavedModels,
    example,
    make_defaults,
    make_dtypes,
    make_examples,
    make_keras,
    make_shapes,
    make_tf1,
    make_vocabulary,
)

INIT = "__saved_model_init_op"
Make = Callable[[Path], None]


@functools.cache
def tensorflow_itself(folder: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(folder)).signatures


def right_answers(folder: Path, signature: str, feeds: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf

    constants = {name: tf.constant(feed) for name, feed in feeds.items()}
    outputs = tensorflow_itself(folder)[signature](**constants)
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def some(spec: TensorSpec, rows: int, examples: bool) -> Any:
    """A feed with numbers from 1 to 4, or strings."""
    sizes = (2, 2) if spec.shape is None else spec.shape
    shape = tuple(rows if size == -1 else size for size in sizes)
    rng = np.random.default_rng(rows)
    if spec.dtype != object:
        return rng.integers(1, 5, shape).astype(spec.dtype)
    made = np.empty(shape, object)
    for place in np.ndindex(shape):
        number = int(rng.integers(1, 5))
        strings = [b"ash", b"", b"\0\xff\0", b"birch", "Ümläut".encode()]
        made[place] = example(x=[1.0 * number, 2.0], ids=[1, 2]) if examples else strings[number]
    return made


def feeds_for(name: str, signature: Signature, rows: int) -> dict[str, Any]:
    parsed = {"inputs", "examples"}
    rows *= 3 if name == "as_rows" else 1
    return {n: some(spec, rows, n in parsed) for n, spec in signature.inputs.items()}


def compare(engine: Engine, folder: Path) -> None:
    for rows in (1, 0, 3, 1):
        for name in set(engine.signatures) - {INIT}:
            if rows == 0 and name == "as_rows" and engine.name == "LiteRT":
                continue  # needs three values, and one stands in for none
            feeds = feeds_for(name, engine.signatures[name], rows)
            right = right_answers(folder, name, feeds)
            assert set(engine.signatures[name].outputs) == set(right), name
            outputs = engine.run(name, feeds, list(right))
            for key, value in right.items():
                expect_equal(outputs[key], value, f"{name} {key}, {rows} rows")
                assert outputs[key].dtype == engine.signatures[name].outputs[key].dtype


def expect_equal(got: Any, right: Any, what: str) -> None:
    assert isinstance(got, np.ndarray), what
    assert got.shape == np.shape(right), what
    if got.dtype == object:
        assert got.tolist() == np.array(right, object).tolist(), what
    else:
        ours, theirs = (np.asarray(each).astype(np.complex128) for each in (got, right))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=what)


@pytest.mark.parametrize(
    "make",
    [
        make_both,
        make_casts,
        make_defaults,
        make_dtypes,
        make_examples,
        make_keras,
        make_shapes,
        make_tf1,
        make_vocabulary,
    ],
)
def test_tensorflow(saved_models: SavedModels, make: Make) -> None:
    folder = saved_models.version(make)
    engine = TensorFlowEngine(folder)
    assert set(engine.signatures) - {INIT} == set(tensorflow_itself(folder))
    compare(engine, folder)
    engine.close()


@pytest.mark.parametrize("make", [make_both, make_casts])
def test_litert(saved_models: SavedModels, make: Make) -> None:
    folder = saved_models.version(make)
    engine = LiteRTEngine(folder)
    assert set(engine.signatures) == set(tensorflow_itself(folder))
    compare(engine, folder)
    engine.close()


@pytest.mark.parametrize("make", [make_both, make_casts])
def test_both_engines_describe_the_same(saved_models: SavedModels, make: Make) -> None:
    folder = saved_models.version(make)
    ours, theirs = LiteRTEngine(folder).signatures, TensorFlowEngine(folder).signatures
    for name in ours:
        for side in ("inputs", "outputs"):
            specs = [getattr(signatures[name], side) for signatures in (ours, theirs)]
            described = [{n: (s.dtype, s.shape) for n, s in each.items()} for each in specs]
            assert described[0] == described[1], (name, side)
        assert ours[name].method_name == theirs[name].method_name


def test_all_dtypes_are_there(saved_models: SavedModels) -> None:
    signatures = TensorFlowEngine(saved_models.version(make_dtypes)).signatures
    assert {s.inputs["x"].dtype.name for n, s in signatures.items() if n.startswith("twice_")} == {
        *NUMBERS
    }
    assert signatures["negated"].inputs["x"].dtype == np.bool_
    assert signatures["shouted"].inputs["text"].dtype == object
    signatures = LiteRTEngine(saved_models.version(make_casts)).signatures
    assert {s.outputs["y"].dtype.name for s in signatures.values()} == {*LITERT_DTYPES}
