"""What is late is told so, once, and in order."""

import threading
import time
from collections.abc import Iterator

import pytest

from serving.model_server.rest_api.watch import Entry, Watch
from tests.waiting import until


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    watch.start()
    yield watch
    watch.stop()


def entry(name: int, seconds: float, late: list[int], done: threading.Event) -> Entry:
    return Entry(time.monotonic() + seconds, done.is_set, lambda: late.append(name))


def test_what_is_late_expires_in_order(watch: Watch) -> None:
    late: list[int] = []
    never = threading.Event()
    for name in range(3):
        watch.add(entry(name, 0.05, late, never))
    until(lambda: len(late) == 3, what="all expire")
    assert late == [0, 1, 2]


def test_what_is_done_does_not_expire(watch: Watch) -> None:
    late: list[int] = []
    done, never = threading.Event(), threading.Event()
    watch.add(entry(0, 0.2, late, done))
    watch.add(entry(1, 0.2, late, never))
    done.set()
    until(lambda: late, what="one expires")
    assert late == [1]


def test_what_comes_after_the_watch_slept_expires(watch: Watch) -> None:
    late: list[int] = []
    for name in range(2):
        watch.add(entry(name, 0.0, late, threading.Event()))
        until(lambda: len(late) == name + 1, what="it expires")  # noqa: B023


def test_nothing_expires_after_the_end() -> None:
    watch, late = Watch(), list[int]()
    watch.start()
    watch.add(entry(0, 3600, late, threading.Event()))
    watch.stop()
    assert late == []
