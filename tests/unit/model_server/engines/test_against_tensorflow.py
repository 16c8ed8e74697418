"""Every signature of every kind of model, in our engines and in TensorFlow itself."""

import contextlib
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example as with_example
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from rockstar_serving.model_server.core import predict, predict_query
from rockstar_serving.model_server.deadline import Deadline
from rockstar_serving.model_server.engines.engine import Engine
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_serving.model_server.engines.tensorflow import TensorFlowEngine
from tests.fake_engine import refusal
from tests.litert_models import LITERT_DTYPES, make_both, make_casts, make_heavy
from tests.memory import resident_mb
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
from tfs_api.messages.prediction_pb2 import PredictRequest
from tfs_api.signature import Signature, TensorSpec
from tfs_api.status import Code, StatusError
from tfs_api.tensors import to_proto

INIT = "__saved_model_init_op"
# LiteRT has it for the main graph, whose tensor names are those of inputs and outputs.
MAIN = "serving_default"
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
        for name in set(engine.signatures) & set(tensorflow_itself(folder)):
            if rows == 0 and name == "as_rows" and engine.name == "LiteRT":
                continue  # needs three values; for no rows, LiteRT runs one
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
    assert set(engine.signatures) == {MAIN, *tensorflow_itself(folder)}
    compare(engine, folder)
    engine.close()


@pytest.mark.parametrize("make", [make_both, make_casts])
def test_both_engines_describe_the_same(saved_models: SavedModels, make: Make) -> None:
    folder = saved_models.version(make)
    ours, theirs = LiteRTEngine(folder).signatures, TensorFlowEngine(folder).signatures
    for name in theirs.keys() - {INIT}:
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
    casts = [signature for name, signature in signatures.items() if name != MAIN]
    assert {signature.outputs["y"].dtype.name for signature in casts} == {*LITERT_DTYPES}


# Requests that match no declared shape or dtype. The computations of make_both() in eager operations,
# which run the same kernels without checking a signature.
EAGER: dict[str, Callable[[Any, Any], Any]] = {
    "twice_float32": lambda tf, x: x + x,
    "linear": lambda tf, x: tf.raw_ops.MatMul(a=x, b=[[1.0], [2.0]]),
    "as_rows": lambda tf, x: tf.reshape(x, [-1, 3]),
    "reversed": lambda tf, text: tf.gather(text, tf.range(tf.size(text) - 1, -1, -1)),
    "convolved": lambda tf, x: tf.raw_ops.Conv2D(
        input=x,
        filter=np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3, 1, 1),
        strides=[1, 1, 1, 1],
        padding="SAME",
    ),
}
SHAPES = stnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4) | st.just((2, 4, 4, 1))


@st.composite
def requests(draw: Any) -> tuple[str, Any]:
    name, shape = draw(st.sampled_from(sorted(EAGER))), draw(SHAPES)
    dtype = draw(st.sampled_from([np.float32, np.float32, np.int32, np.float64, object]))
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    return name, np.array(values.astype("S").tolist(), object) if dtype is object else (
        values.astype(dtype)
    )


def ask(engine: Engine, name: str, array: Any) -> Any:
    """The engine's response to a message; None if it rejects the input."""
    request = PredictRequest()
    request.model_spec.signature_name = name
    (input_name,) = engine.signatures[name].inputs
    request.inputs[input_name].CopyFrom(to_proto(array))
    try:
        (answer,) = predict(engine, predict_query(request)).outputs.values()
    except StatusError as error:
        if error.code != Code.INVALID_ARGUMENT:
            raise
        return None
    return answer


@settings(max_examples=200)
@given(request=requests())
@with_example(("twice_float32", np.array([1, 2, 5], np.float32)))
@with_example(("twice_float32", np.array(3, np.float32)))
def test_tensorflow_accepts_the_inputs_of_its_operations(saved_models, request):
    import tensorflow as tf

    name, array = request
    engine = both_engines(saved_models.version(make_both))[0]
    (spec,) = engine.signatures[name].inputs.values()
    right = None
    # With oneDNN, a convolution of fewer dimensions would crash the process.
    if array.dtype == spec.dtype and (name != "convolved" or array.ndim >= 4):
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            right = EAGER[name](tf, tf.constant(array, spec.dtype.name.replace("object", "string")))
    answer = ask(engine, name, array)
    if right is None:
        assert answer is None
    else:
        expect_equal(answer, right.numpy(), f"{name} of {array.dtype} {array.shape}")


@settings(max_examples=200)
@given(request=requests())
def test_litert_accepts_valid_inputs_after_invalid_ones(saved_models, request):
    name, array = request
    engine = both_engines(saved_models.version(make_both))[1]
    (spec,) = engine.signatures[name].inputs.values()
    answer = ask(engine, name, array)
    if array.dtype != spec.dtype:
        assert answer is None
    elif name == "twice_float32":
        expect_equal(answer, np.asarray(array + array), f"{name} of {array.shape}")
    for size in (1, 2):
        feeds = feeds_for(name, engine.signatures[name], size)
        for output, right in right_answers(saved_models.version(make_both), name, feeds).items():
            got = engine.run(name, feeds, [output])[output]
            expect_equal(got, right, f"{name} after {array.dtype} {array.shape}")


@functools.cache
def both_engines(folder: Path) -> tuple[TensorFlowEngine, LiteRTEngine]:
    return TensorFlowEngine(folder), LiteRTEngine(folder, interpreters=1)


@pytest.fixture(params=[TensorFlowEngine, functools.partial(LiteRTEngine, interpreters=2)])
def load(request: pytest.FixtureRequest) -> Callable[[Path], Engine]:
    """Loads a version in one of the engines."""
    made: Callable[[Path], Engine] = request.param
    return made


def test_threads_do_not_disturb_each_other(saved_models, load):
    engine = load(saved_models.version(make_both))
    together = threading.Barrier(4)

    def call(seed: int) -> None:
        x = np.random.default_rng(seed).random((seed % 3 + 1, 2), np.float32)
        together.wait(30)
        for _ in range(50):
            y = engine.run("linear", {"x": x}, ["y"])["y"]
            np.testing.assert_allclose(y, x @ [[1], [2]], rtol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(4)))


def test_a_deadline_that_has_passed_starts_nothing(saved_models, load):
    engine = load(saved_models.version(make_both))
    code, _ = refusal(engine.run, "constant", {}, ["y"], Deadline.after(-1))
    assert code == Code.DEADLINE_EXCEEDED


def test_closed_engines_are_freed(saved_models, load):
    """8 MB of weights, so a leak of thirty engines takes twice the bound; allocators keep some."""
    folder = saved_models.version(make_heavy)

    def load_and_run() -> None:
        engine = load(folder)
        for size in (1, 2):
            engine.run("serving_default", {"x": np.ones((size, 1000), np.float32)}, ["y"])
        engine.close()

    for _ in range(5):
        load_and_run()
    before = resident_mb()
    for _ in range(30):
        load_and_run()
    assert resident_mb() - before < 120
