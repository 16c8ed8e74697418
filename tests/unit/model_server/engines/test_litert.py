"""LiteRT behind the engine's interface."""

import logging
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rockstar_contract.manifest import write_manifest
from rockstar_serving.model_server.deadline import (
    NO_DEADLINE,
    Deadline,
    DeadlinePassedError,
    WouldBlockError,
)
from rockstar_serving.model_server.engines.engine import LoadError, ServableId
from rockstar_serving.model_server.engines.litert import LiteRTEngine, Pool
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.options import EngineOptions, ServerOptions
from tests.fake_engine import refusal
from tests.litert_models import (
    make_heavy,
    make_litert,
    make_parsing,
    make_quantized,
    rewritten,
)
from tests.memory import resident_mb
from tests.model_fixtures import SIDE, toy_model, write_version
from tests.saved_models import SavedModels, example, named_function
from tfs_api.signature import TensorSpec
from tfs_api.status import Code, StatusError


@pytest.fixture
def engine(tmp_path: Path) -> LiteRTEngine:
    return LiteRTEngine(write_version(tmp_path, 5), interpreters=2)


def shapes(specs: dict[str, TensorSpec]) -> Any:
    return {name: (spec.dtype, spec.shape) for name, spec in specs.items()}


def test_outputs_are_the_callers(engine: LiteRTEngine) -> None:
    ones = np.ones((1, SIDE, SIDE, 1), np.float32)
    first = engine.run("serving_default", {"image": ones}, ["probabilities"])["probabilities"]
    kept = first.copy()
    engine.run("serving_default", {"image": -ones}, ["probabilities"])
    np.testing.assert_array_equal(first, kept)


@pytest.fixture(scope="module")
def several(saved_models: SavedModels) -> LiteRTEngine:
    return LiteRTEngine(saved_models.version(make_litert), interpreters=2)


def test_a_failed_run_does_not_use_the_pool_up(several: LiteRTEngine) -> None:
    for _ in range(5):
        code, message = refusal(several.run, "as_rows", {"x": np.zeros(4, np.int32)}, ["rows"])
        assert code == Code.INVALID_ARGUMENT
        assert message.startswith(
            'LiteRT cannot run the signature "as_rows" on these inputs (x: int32 of shape [4], '
            "declared [?]): "
        )
        assert message.count("(4 != 3)") == 1
    rows = several.run("as_rows", {"x": np.arange(6, dtype=np.int32)}, ["rows"])["rows"]
    assert rows.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("word", [b"word", b"", b"\0", b"ends in \0\0", b"\xff" * 1000])
def test_one_string(several: LiteRTEngine, word: bytes) -> None:
    outputs = several.run("word", {"word": np.array(word, object)}, ["words"])
    assert outputs["words"].tolist() == [word]


def test_any_rank(several: LiteRTEngine) -> None:
    signature = several.signatures["any_rank"]
    assert signature.inputs["x"].shape is signature.outputs["y"].shape is None
    assert several.signatures["serving_default"].inputs["scale"].shape == ()
    for shape in ((), (3,), (2, 1, 2)):
        ones = np.ones(shape, np.float32)
        y = several.run("any_rank", {"x": ones}, ["y"])["y"]
        np.testing.assert_array_equal(y, ones * 2)
        assert y.shape == shape


def test_inputs_are_resized_to_the_request(several: LiteRTEngine) -> None:
    for shape in ((), (3,), (2, 3), (1, 2, 1, 2, 1, 2)):
        x = np.ones(shape, np.float32)
        np.testing.assert_array_equal(several.run("twice_float32", {"x": x}, ["y"])["y"], x * 2)
    # LiteRT's fully connected layer splits values into rows, regardless of the dimensions.
    assert several.run("linear", {"x": np.ones(6, np.float32)}, ["y"])["y"].tolist() == [[3]] * 3


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((1, 2)), "expected float32 of shape [?, 2], got float64 of shape [1, 2]"),
        (np.array([b"x"], object), "expected float32 of shape [?, 2], got string of shape [1]"),
        (
            np.ones((1,) * 7, np.float32),
            "expected at most 6 dimensions, which LiteRT takes, got float32 of shape "
            "[1, 1, 1, 1, 1, 1, 1]",
        ),
        (np.ones((0, 2**40), np.float32), f"shape [0, {2**40}] has no value, but is too large"),
    ],
)
def test_inputs_that_litert_cannot_take(several: LiteRTEngine, x: Any, message: str) -> None:
    expected = Code.INVALID_ARGUMENT, f"input 'x': {message}"
    assert refusal(several.run, "twice_float32", {"x": x}, ["y"]) == expected
    ones = np.ones((1, 2), np.float32)
    assert several.run("twice_float32", {"x": ones}, ["y"])["y"].tolist() == [[2, 2]]


def test_a_batch_for_a_model_that_was_converted_for_one_example(tmp_path: Path) -> None:
    import tensorflow as tf

    function = named_function(
        lambda x: {"y": tf.matmul(x, tf.ones([4, 2]))}, x=tf.TensorSpec([1, 4])
    )
    content = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    engine = LiteRTEngine(write_version(tmp_path, 1, content))
    (name,) = engine.signatures["serving_default"].outputs
    for rows in (1, 3, 0):
        y = engine.run("serving_default", {"x": np.ones((rows, 4), np.float32)}, [name])[name]
        assert y.tolist() == [[4, 4]] * rows


def test_no_example_where_a_kernel_needs_one(several: LiteRTEngine) -> None:
    for size in (0, 2, 0):
        images = np.ones((size, 4, 4, 1), np.float32)
        assert several.run("convolved", {"image": images}, ["y"])["y"].shape == images.shape
    for shape in ((0,), (0, 3)):
        x = np.ones(shape, np.float32)
        assert several.run("any_rank", {"x": x}, ["y"])["y"].shape == shape
    assert several.run("constant", {}, ["y"])["y"].shape == (3,)


def test_inputs_in_any_order_and_memory_layout(several: LiteRTEngine) -> None:
    x, scale = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2], np.array(2, np.float32)
    x.setflags(write=False)
    for feeds in ({"x": x, "scale": scale}, {"scale": scale, "x": x}):
        outputs = several.run("serving_default", feeds, ["total", "scaled"])
        assert list(outputs) == ["total", "scaled"]
        np.testing.assert_array_equal(outputs["scaled"], x * 2)


def test_a_quantized_model(saved_models: SavedModels) -> None:
    engine = LiteRTEngine(saved_models.version(make_quantized))
    signature = engine.signatures["serving_default"]
    assert shapes(dict(signature.inputs)) == {"x": (np.int8, (-1, 4))}
    assert shapes(dict(signature.outputs)) == {"y": (np.int8, (-1, 2))}
    low, high = np.full((1, 4), -128, np.int8), np.full((1, 4), 127, np.int8)
    for x in (low, high):
        assert engine.run("serving_default", {"x": x}, ["y"])["y"].dtype == np.int8
    answers = [engine.run("serving_default", {"x": x}, ["y"])["y"] for x in (low, high)]
    assert not np.array_equal(answers[0], answers[1])


def test_the_model_outlives_its_folder(tmp_path: Path) -> None:
    folder = write_version(tmp_path, 5)
    engine = LiteRTEngine(folder, interpreters=2)
    (folder / "model.tflite").write_bytes(b"")
    for size in range(1, 4):  # each creates an interpreter
        assert engine.run("contract", {"query": np.zeros(size, np.int32)}, ["contract"])


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


def test_batches_of_all_sizes_share_one_copy_of_the_weights(saved_models: SavedModels) -> None:
    """8 MB of weights, so that a copy for each of four sizes is visible."""
    engine = LiteRTEngine(saved_models.version(make_heavy), interpreters=1)
    before = resident_mb()
    for size in (1, 4, 16, 2, 32, 1):
        x = np.random.default_rng(size).random((size, 1000), np.float32)
        engine.run("serving_default", {"x": x}, ["y"])
    grown = resident_mb() - before
    engine.close()
    assert grown < 16


_REST = """
import ctypes
import sys
from pathlib import Path
import numpy as np
from rockstar_serving.model_server.engines.engine import ServableId
from rockstar_serving.model_server.loading import VersionLoader
from rockstar_serving.model_server.options import EngineOptions, ServerOptions
from tests.memory import resident_mb
options = ServerOptions((), engine=EngineOptions(prefer_tflite=True, litert_on_demand=True))
engine = VersionLoader(options)(ServableId("heavy", 1), Path(sys.argv[1]))
ctypes.CDLL(None).malloc_trim(0)  # loading freed more than the weights take
before = resident_mb()
for rows in (1, 3):
    y = engine.run("serving_default", {"x": np.ones((rows, 1000), np.float32)}, ["y"])["y"]
    np.testing.assert_allclose(y, np.full((rows, 2000), 1000))
print(resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the resident set is read from /proc")
def test_a_version_that_rests_is_light(saved_models: SavedModels) -> None:
    """The first request loads 8 MB of weights, in the file and packed.

    Runs in a new process, which has no freed memory to reuse.
    """
    folder = saved_models.version(make_heavy)
    done = subprocess.run(
        [sys.executable, "-c", _REST, folder], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 12


def test_a_version_that_rests_outlives_its_folder(tmp_path: Path) -> None:
    folder = write_version(tmp_path, 5)
    engine = LiteRTEngine(folder)
    engine.rest()
    shutil.rmtree(folder)
    assert engine.run("contract", {"query": np.zeros(1, np.int32)}, ["contract"])
    engine.close()


def test_a_version_that_rests_is_not_mistaken_for_what_came_into_its_file(tmp_path: Path) -> None:
    folder = write_version(tmp_path, 5)
    engine = LiteRTEngine(folder)
    engine.rest()
    (folder / "model.tflite").write_bytes(b"")
    with pytest.raises(StatusError, match="was overwritten while it was served") as caught:
        engine.run("contract", {"query": np.zeros(1, np.int32)}, ["contract"])
    assert caught.value.code == Code.UNAVAILABLE
    engine.close()


class Remembering:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}


def pool(*, at_once: int = 2, for_shapes: int = 1) -> tuple[Pool, list[Remembering]]:
    made: list[Any] = []

    def make() -> Any:
        made.append(Remembering())
        return made[-1]

    return Pool(make, make(), at_once=at_once, for_shapes=for_shapes), made


def use(pool: Pool, rows: int, signature: str = "s") -> Any:
    """Borrow, run and give back."""
    shapes = ((rows, 2),)
    interpreter = pool.take(signature, shapes, NO_DEADLINE)
    interpreter.shapes[signature] = shapes
    pool.give_back(interpreter)
    return interpreter


def test_an_interpreter_that_ran_on_the_same_shapes_comes_first() -> None:
    lending, made = pool(for_shapes=3)
    users = {rows: use(lending, rows) for rows in (1, 2, 3)}
    assert len({id(user) for user in users.values()}) == len(made) == 3
    for rows in (2, 3, 1, 3, 2, 1):
        assert use(lending, rows) is users[rows]
    assert len(made) == 3


def test_callers_wait_when_all_are_in_use() -> None:
    lending, made = pool(at_once=1)
    first = lending.take("s", ((1, 2),), NO_DEADLINE)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(use(lending, 1)))
    waiting.start()
    with pytest.raises(DeadlinePassedError):
        lending.take("s", ((1, 2),), Deadline.after(0.01))
    assert not got
    lending.give_back(first)
    waiting.join(30)
    assert got == [first]
    assert len(made) == 1


def test_a_request_that_must_not_block_takes_only_an_idle_interpreter() -> None:
    lending, made = pool(at_once=1)
    now = Deadline(may_block=False)
    taken = lending.take("s", ((1, 2),), now)
    with pytest.raises(WouldBlockError):
        lending.take("s", ((1, 2),), now)
    lending.give_back(taken)
    lending.clear()
    with pytest.raises(WouldBlockError):  # making one takes long
        lending.take("s", ((1, 2),), now)
    assert len(made) == 1
    assert use(lending, 1) is not taken


def test_a_deadline_that_has_passed_takes_none() -> None:
    lending, _ = pool(at_once=1)
    for _ in range(3):
        with pytest.raises(DeadlinePassedError):
            lending.take("s", ((1, 2),), Deadline.after(-1))
    assert use(lending, 1)


def test_one_that_failed_is_replaced() -> None:
    lending, made = pool(at_once=1)
    for _ in range(3):
        lending.take("s", ((1, 2),), NO_DEADLINE)
        lending.give_back(None)
    assert use(lending, 1) is made[-1]
    assert len(made) == 4


def test_one_that_cannot_be_made_holds_no_place() -> None:
    def fail() -> Any:
        raise MemoryError

    lending = Pool(fail, Remembering(), at_once=1, for_shapes=1)  # type: ignore[arg-type]
    lending.take("s", ((1, 2),), NO_DEADLINE)
    lending.give_back(None)
    for _ in range(3):
        with pytest.raises(MemoryError):
            lending.take("s", ((1, 2),), NO_DEADLINE)


LOAD = VersionLoader(ServerOptions((), engine=EngineOptions(prefer_tflite=True)))


@pytest.fixture
def version(saved_models: SavedModels, tmp_path: Path) -> Any:
    """Write a version folder whose LiteRT file has other ops instead of its custom op."""

    def make(*ops: bytes) -> Path:
        def change(model: Any) -> None:
            (code,) = (code for code in model.operatorCodes if code.customCode)
            code.customCode, *more = ops
            for op in more:
                another = type(code)()
                another.builtinCode = another.deprecatedBuiltinCode = code.deprecatedBuiltinCode
                another.customCode = op
                model.operatorCodes.append(another)

        folder = shutil.copytree(saved_models.version(make_parsing), tmp_path / "1")
        file = folder / "model.tflite"
        file.write_bytes(rewritten(file.read_bytes(), change))
        write_manifest(folder)
        return folder

    return make


def test_the_saved_model_beside_it_is_loaded_instead(version, caplog):
    with caplog.at_level(logging.WARNING):
        engine = LOAD(ServableId("text", 1), version(b"FlexParseExampleV2"))
    assert engine.name == "TensorFlow"
    feeds = {"inputs": np.array([example(x=[1.0, 2.0, 3.0])], object)}
    assert engine.run("serving_default", feeds, ["scores"])["scores"].tolist() == [[2, 4, 6]]
    (record,) = caplog.records
    assert record.message.startswith("model text version 1: ")
    assert "model.tflite needs TensorFlow's ops that LiteRT does not have (Flex" in record.message


@pytest.mark.parametrize(
    ("ops", "reason"),
    [
        (
            [b"FlexErf", b"FlexAsString"],
            r"TensorFlow's ops that LiteRT does not have \(FlexAsString, FlexErf\): convert it without "
            "SELECT_TF_OPS",
        ),
        (
            [b"TFText>Tokenize", b"FlexErf", b"Mfcc"],
            r"custom ops that LiteRT does not have \(TFText>Tokenize\): convert it without custom ops",
        ),
    ],
)
def test_without_one_the_ops_are_named(version: Any, ops: list[bytes], reason: str) -> None:
    folder = version(*ops)
    (folder / "saved_model.pb").unlink()
    write_manifest(folder)
    with pytest.raises(LoadError, match=rf"{folder}/model\.tflite needs {reason}"):
        LOAD(ServableId("text", 1), folder)
