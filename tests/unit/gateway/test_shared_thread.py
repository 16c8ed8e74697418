"""Requests that share a thread, on the paths that take turns."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from rockstar_client.errors import DeadlineExceededError
from rockstar_serving.gateway.observer import Observer
from rockstar_serving.gateway.shared_thread import SharedThread
from rockstar_serving.gateway.upstream.coalescing import Coalescing
from tests.unit.gateway.upstream.gated import GatedBackend
from tests.waiting import until
from tfs_api.status import Code


class Shared:
    """A shared thread, which is the test's own, and whether it was asked to go on."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(4)
        self.called = threading.Event()
        self.thread = SharedThread(self.pool, self.called.set)

    def go_on_until(self, done: Callable[[], bool]) -> None:
        while not done():
            assert self.called.wait(30)
            self.called.clear()
            self.thread.go_on()


@pytest.fixture
def shared() -> Iterator[Shared]:
    shared = Shared()
    yield shared
    shared.pool.shutdown()


@pytest.fixture
def gated() -> GatedBackend:
    return GatedBackend()


def test_requests_go_on_where_they_waited_each_with_what_it_had(shared):
    gates, said = [], []

    def request(name: str) -> None:
        gates.append(shared.thread.gate())
        said.append(f"{name} waits")
        said.append((name, gates[-1 if name == "b" else 0].wait(30)))

    shared.thread.start(lambda: request("a"))
    shared.thread.start(lambda: request("b"))
    shared.thread.go_on()
    assert said == ["a waits", "b waits"]
    gates[1].wake()
    shared.thread.go_on()
    gates[0].wake()
    shared.thread.go_on()
    assert said[2:] == [("b", True), ("a", True)]


def test_those_that_came_together_are_one_batch(shared, gated):
    backend = Coalescing(gated, lambda _: 8, 1, Observer(), shared.thread)
    answers = {}

    def request(value: float) -> None:
        inputs = {"x": np.full((1, 1), value, np.float32)}
        answers[value] = backend.predict("m", inputs, timeout=30).outputs["y"].item()

    for values in (range(5), range(10, 15)):
        for value in values:
            shared.thread.start(partial(request, value))
        shared.thread.go_on()
    assert gated.sizes == [5, 5]
    assert answers == {value: 2 * value for value in (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)}
    assert not backend._lanes


def test_a_full_batch_goes_before_others_are_looked_at(shared, gated):
    backend = Coalescing(gated, lambda _: 2, 1, Observer(), shared.thread)
    inputs = {"x": np.zeros((1, 1), np.float32)}
    for _ in range(5):
        shared.thread.start(lambda: backend.predict("m", inputs, timeout=30))
    shared.thread.go_on()
    assert gated.sizes == [2, 2, 1]


def test_what_is_aside_holds_up_nobody(shared):
    slow, said = threading.Event(), []

    def request() -> None:
        assert shared.thread.shared()
        where = shared.thread.aside(lambda: (slow.wait(30), threading.get_ident()))
        said.append(where != (True, threading.get_ident()))

    shared.thread.start(request)
    shared.thread.start(lambda: said.append("other"))
    shared.thread.go_on()
    assert said == ["other"]
    slow.set()
    shared.go_on_until(lambda: len(said) == 2)
    assert said == ["other", True]


def test_what_fails_aside_fails_in_the_request(shared):
    said = []

    def fail() -> None:
        raise DeadlineExceededError(Code.DEADLINE_EXCEEDED, "too late")

    def request() -> None:
        with pytest.raises(DeadlineExceededError):
            shared.thread.aside(fail)
        said.append("failed")

    shared.thread.start(request)
    shared.go_on_until(lambda: bool(said))


def test_who_waits_goes_on_when_the_time_is_over(shared):
    said = []
    shared.thread.start(lambda: said.append(shared.thread.gate().wait(0.01)))
    assert shared.thread.patience() <= 0.01

    def over() -> bool:
        shared.thread.go_on()
        return bool(said)

    until(over)
    assert said == [False]
    assert shared.thread.patience() == float("inf")


def test_a_call_of_another_thread_is_waited_for_and_its_caller_wakes_the_shared_one(shared, gated):
    gated.gate.clear()
    backend = Coalescing(gated, lambda _: 8, 1, Observer(), shared.thread)
    answers = []

    def request() -> None:
        inputs = {"x": np.ones((1, 1), np.float32)}
        answers.append(backend.predict("m", inputs, timeout=30).outputs["y"].item())

    alone = shared.pool.submit(request)
    until(lambda: gated.sizes == [1])
    shared.thread.start(request)
    shared.thread.go_on()
    assert not answers
    gated.gate.set()
    shared.go_on_until(lambda: len(answers) == 2)
    alone.result(30)
    assert gated.sizes == [1, 1]


def test_a_request_that_breaks_is_logged_and_breaks_no_other(shared, caplog):
    def request() -> None:
        raise RuntimeError("a mistake")

    with caplog.at_level(logging.ERROR):
        shared.thread.start(request)
    assert "a mistake" in caplog.text


def test_it_looks_for_new_requests_after_some(shared):
    """So that those that are too many hear it soon; the others keep their order."""
    served: list[int] = []

    def request(number: int) -> None:
        assert shared.thread.turn(30)
        served.append(number)

    for number in range(100):
        shared.thread.start(partial(request, number))
    some = len(served)
    assert 0 < some < 100
    while len(served) < 100:
        assert shared.thread.patience() == 0
        before = len(served)
        shared.thread.go_on()
        assert len(served) <= before + some
    assert served == list(range(100))


def test_whose_time_is_over_before_its_turn_is_told(shared):
    told: list[bool] = []
    for _ in range(100):
        shared.thread.start(lambda: told.append(shared.thread.turn(0.0)))
    while len(told) < 100:
        shared.thread.go_on()
    assert True in told
    assert False in told
