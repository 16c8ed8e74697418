"""What is late is told so, once, and in order."""

from collections.abc import Iterator

import pytest

from rockstar_serving.model_server.rest_api.watch import Watch
from tests.waiting import until

SECONDS = 0.1


class Request:
    claimed = False


class Sender:
    def __init__(self) -> None:
        self.late: list[Request] = []

    def expire(self, request: Request, seconds: float) -> None:
        assert seconds == SECONDS
        self.late.append(request)


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch(SECONDS)
    watch.start()
    yield watch
    watch.stop()


def test_what_is_late_expires_in_order(watch: Watch) -> None:
    sender, requests = Sender(), [Request() for _ in range(3)]
    for request in requests:
        watch.add(request, sender)
    until(lambda: len(sender.late) == 3, what="all expire")
    assert sender.late == requests
    watch.add(requests[0], sender)
    until(lambda: len(sender.late) == 4, what="what comes later expires too")


def test_what_is_done_or_gone_does_not_expire(watch: Watch) -> None:
    sender, done, late = Sender(), Request(), Request()
    watch.add(done, sender)
    watch.add(Request(), sender)  # nobody keeps it: its connection is closed
    watch.add(late, sender)
    done.claimed = True
    until(lambda: sender.late, what="one expires")
    assert sender.late == [late]


def test_nothing_expires_after_the_end() -> None:
    watch, sender, request = Watch(SECONDS), Sender(), Request()
    watch.start()
    watch.stop()
    watch.add(request, sender)
    assert sender.late == []
