"""Rows, the first dimension of tensors: what is refused with batching, and what shares a batch."""

from typing import Any

import numpy as np
import pytest

from rockstar_serving.model_server.batching.parameters import QueueParameters
from tests.unit.model_server.batching.engines import Bench, answer, refusal, rows, texts
from tfs_api.status import Code


@pytest.mark.parametrize(
    ("signature", "feeds", "message"),
    [
        ("constant", {}, "must have at least one input tensor"),
        (
            "scalar",
            {"x": np.array(2, np.float32)},
            "input tensors must have at least one dimension",
        ),
        (
            "half",
            {"x": rows(1), "any": np.array(1, np.float32)},
            "input tensors must have at least one dimension",
        ),
        (
            "join",
            {"left": texts(b"a"), "right": texts(b"1", b"2")},
            "input tensors must have equal 0th-dimension size",
        ),
    ],
)
def test_inputs_that_do_not_agree_in_their_rows(signature: str, feeds: Any, message: str) -> None:
    with Bench() as bench:
        refused = refusal(bench.call(signature, **feeds))
        assert refused == (Code.INVALID_ARGUMENT, f"Batching Run() {message}")
        assert bench.inner.runs == []


@pytest.mark.parametrize(
    ("signature", "x", "message"),
    [
        ("total", rows(2), "Batched output tensor has 0 dimensions: output 'total' of 1 rows has"),
        (
            "filter",
            rows(2, -1),
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
            "sizes of the input tensors: output 'positive' of 2 rows has the shape [1, 2]",
        ),
    ],
)
def test_outputs_without_the_rows_of_the_inputs(signature: str, x: Any, message: str) -> None:
    with Bench() as bench:
        code, text = refusal(bench.call(signature, x=x))
        assert code == Code.FAILED_PRECONDITION
        assert text.startswith(message)


def test_no_rows_at_all_run_past_the_queue() -> None:
    with Bench() as bench:
        bench.inner.open.clear()
        empty = [bench.call("double", x=rows()) for _ in range(2)]
        bench.inner.open.set()
        assert [answer(each) for each in empty] == [[], []]


@pytest.mark.parametrize("signature", ["fixed", "anything"])
def test_declared_shapes_do_not_matter(signature: str) -> None:
    with Bench() as bench:
        bench.hold()
        waiting = [bench.wait_in_queue(signature, ["y"], x=rows(n)) for n in (1, 2)]
        bench.inner.open.set()
        assert [answer(each) for each in waiting] == [[[2, 2]], [[4, 4]]]
        assert bench.inner.sizes == [1, 2]


def test_a_request_whose_outputs_have_other_rows_fails_none_of_its_neighbours() -> None:
    with Bench() as bench:
        bench.hold()
        waiting = [bench.wait_in_queue("filter", x=x) for x in (rows(1), rows(2, -1), rows(3))]
        bench.inner.open.set()
        assert refusal(waiting[1])[0] == Code.FAILED_PRECONDITION
        whole = [waiting[number].result(30)["positive"].tolist() for number in (0, 2)]
        assert whole == [[[1, 1]], [[3, 3]]]


def test_requests_of_other_ranks_share_no_batch() -> None:
    with Bench(QueueParameters(pad_variable_length_inputs=True)) as bench:
        bench.hold()
        flat = bench.wait_in_queue("anything", x=np.array([1, 2], np.float32))
        deep = bench.wait_in_queue("anything", x=np.ones((1, 1, 1), np.float32))
        deeper = bench.wait_in_queue("anything", x=np.ones((1,) * 7, np.float32))
        company = bench.wait_in_queue("anything", x=np.ones((1,) * 7, np.float32))
        bench.inner.open.set()
        assert answer(flat) == [2, 4]
        assert answer(deep) == [[[2]]]
        for each in (deeper, company):
            assert refusal(each) == (
                Code.INVALID_ARGUMENT,
                "Only tensors with rank from 1 to 6 can be padded.",
            )
