"""What has rows in common, and is batched; and what has not, and runs alone."""

from typing import Any

import numpy as np
import pytest

from serving.api.status import Code
from tests.unit.model_server.batching.engines import SIGNATURES, Bench, answer, refusal, rows, texts
from tests.waiting import until


@pytest.mark.parametrize(
    ("signature", "feeds", "message"),
    [
        (
            "join",
            {"left": texts(b"a"), "right": texts(b"1", b"2")},
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        (
            "half",
            {"x": rows(1), "any": np.array(1, np.float32)},
            "Batching Run() input tensors must have at least one dimension",
        ),
    ],
)
def test_inputs_that_do_not_agree_in_their_rows(signature: str, feeds: Any, message: str) -> None:
    with Bench() as bench:
        assert refusal(bench.call(signature, **feeds)) == (Code.INVALID_ARGUMENT, message)


@pytest.mark.parametrize(
    ("signature", "feeds"),
    [
        ("scalar", {"x": np.array(2, np.float32)}),
        ("fixed", {"x": rows(2)}),
        ("total", {"x": rows(2)}),
        ("constant", {}),
        ("anything", {"x": np.array(2, np.float32)}),
        ("double", {"x": rows()}),
    ],
)
def test_what_has_no_rows_in_common_runs_alone(signature: str, feeds: Any) -> None:
    with Bench() as bench:
        bench.inner.open.clear()
        # Past the single thread: both are inside.
        both = [bench.call(signature, **feeds) for _ in range(2)]
        until(lambda: len(bench.inner.runs) == 2)
        bench.inner.open.set()
        for each in both:
            assert each.result(30).keys() == SIGNATURES[signature].outputs.keys()


def test_a_signature_of_unknown_shapes_is_batched_where_the_request_can_be() -> None:
    with Bench() as bench:
        bench.hold()
        waiting = [bench.wait_in_queue("anything", x=rows(n)) for n in (1, 2)]
        bench.inner.open.set()
        assert [answer(each) for each in waiting] == [[[2, 2]], [[4, 4]]]
        assert bench.inner.sizes == [1, 2]


def test_an_output_that_turns_out_to_have_other_rows_is_batched_no_more() -> None:
    def positive(future: Any) -> Any:
        return future.result(30)["positive"].tolist()

    with Bench() as bench:
        bench.hold()
        waiting = [bench.wait_in_queue("filter", x=rows(n, -1)) for n in (1, 2)]
        bench.inner.open.set()
        assert [positive(each) for each in waiting] == [[[1, 1]], [[2, 2]]]
        assert bench.inner.sizes == [1, 4, 2, 2]
        bench.inner.open.clear()
        both = [bench.call("filter", x=rows(n, -1)) for n in (3, 4)]
        until(lambda: bench.inner.sizes == [1, 4, 2, 2, 2, 2], what="both run past the thread")
        bench.inner.open.set()
        assert [positive(each) for each in both] == [[[3, 3]], [[4, 4]]]
