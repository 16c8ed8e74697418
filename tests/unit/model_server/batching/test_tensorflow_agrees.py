"""TensorFlow's SharedBatchScheduler, which TensorFlow Serving uses, has the same errors."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.unit.model_server.batching.engines import Bench, rows, sized
from tests.waiting import until
from tfs_api.status import StatusError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own
    import tensorflow as tf

SIZE, ENQUEUED = 4, 2
PARAMETERS = sized(SIZE, max_enqueued_batches=ENQUEUED)


class Batched:
    """A function that TensorFlow batches with one thread; a run waits until `open` is set."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.sizes: list[int] = []

        def run(x: Any) -> Any:
            self.sizes.append(len(x))
            assert self.open.wait(30)
            return x

        @tf.function(input_signature=[tf.TensorSpec([None, 2])], autograph=False)  # type: ignore[untyped-decorator]
        def call(x: Any) -> Any:
            batch = tf.nondifferentiable_batch_function(
                *(1, SIZE, 0),
                max_enqueued_batches=ENQUEUED,
                enable_large_batch_splitting=False,
                autograph=False,
            )
            return batch(lambda x: tf.numpy_function(run, [x], tf.float32))(x)

        self.call = call


def last_line(error: BaseException) -> str:
    """The scheduler's message, without TensorFlow's additions."""
    lines = [line for line in str(error).splitlines() if "ask size" in line or "queue" in line]
    return lines[-1].split(" [[")[0].strip()


def test_too_large() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as theirs:
        Batched().call(rows(*range(SIZE + 1)))
    with Bench(PARAMETERS) as bench, pytest.raises(StatusError) as ours:
        bench.engine.run("double", {"x": rows(*range(SIZE + 1))}, ["y"])
    assert last_line(theirs.value) == ours.value.message


def test_full() -> None:
    batched = Batched()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(batched.call, rows(0))
        until(lambda: batched.sizes, what="the first request runs")
        others = [pool.submit(batched.call, rows(*range(SIZE))) for _ in range(ENQUEUED + 2)]
        until(lambda: sum(each.done() for each in others) == 2, what="two are refused")
        errors = [each.exception() for each in others if each.done()]
        batched.open.set()
        assert first.result(30).shape == (1, 2)
    assert all(isinstance(error, tf.errors.UnavailableError) for error in errors)
    with Bench(PARAMETERS) as bench:
        bench.hold()
        for _ in range(ENQUEUED):
            bench.wait_in_queue(x=rows(*range(SIZE)))
        with pytest.raises(StatusError) as ours:
            bench.engine.run("double", {"x": rows(*range(SIZE))}, ["y"])
    assert {last_line(error) for error in errors if error} == {ours.value.message}
