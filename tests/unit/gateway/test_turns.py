import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.gateway.turns import SMALL_BYTES, Turns


class OutOfTimeError(Exception):
    pass


def no_time() -> float:
    raise OutOfTimeError


def long() -> float:
    return 30.0


@pytest.mark.parametrize(("size", "at_once"), [(SMALL_BYTES, 1), (SMALL_BYTES + 1, 2), (None, 2)])
def test_how_many_prepare_at_a_time(size, at_once):
    turns = Turns(2)
    inside, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def prepare(_number):
        nonlocal inside, most
        with turns.take(size, long):
            with lock:
                inside += 1
                most = max(most, inside)
                if inside == at_once:
                    full.set()
            assert full.wait(30)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(prepare, range(40)))
    assert most == at_once


def test_a_small_request_does_not_wait_for_large_ones():
    turns = Turns(1)
    with turns.take(10**7, long), turns.take(10, long):
        pass


@pytest.mark.parametrize("size", [10, 10**7])
def test_the_wait_ends_with_the_time(size):
    turns = Turns(1)
    with turns.take(size, long), pytest.raises(OutOfTimeError), turns.take(size, no_time):
        pass
    with turns.take(size, long):
        pass
