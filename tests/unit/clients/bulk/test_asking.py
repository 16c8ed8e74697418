"""Whose fault a failure is, and how long a service is waited for."""

import numpy as np
import pytest

from rockstar_client.bulk.asking import Asker, Stopped
from rockstar_client.bulk.item import Answered, Failed, Item
from rockstar_client.errors import call_error
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.labels import Value
from tfs_api.status import Code


def item(content: bytes) -> Item:
    return Item(content.decode(), "", len(content), (), lambda: content)


class Service:
    """Answers the number in each example; fails as `wrong` says of a request."""

    def __init__(self, wrong=lambda examples: None):
        self.wrong = wrong
        self.requests = []

    def __call__(self, examples):
        self.requests.append(len(examples))
        error = self.wrong(examples)
        if error is not None:
            raise error
        return Answered(7, [Value(float(example)) for example in examples])


def ask(service, contents, **options):
    return Asker(service, **options)([item(b"%d" % n) for n in contents])


def test_answers_keep_their_order():
    assert ask(Service(), range(5)) == [(7, Value(float(n))) for n in range(5)]


def test_an_item_that_cannot_be_read_is_not_sent():
    def fail():
        raise InvalidInputError("x.png", expected="a readable file", got="none")

    service = Service()
    found = Asker(service)([item(b"1"), Item("x.png", "", 0, (), fail), item(b"2")])
    assert found == [
        (7, Value(1.0)),
        (0, Failed("expected a readable file, got none")),
        (7, Value(2.0)),
    ]
    assert service.requests == [2]


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.INTERNAL, Code.DEADLINE_EXCEEDED])
def test_the_one_that_fails_a_batch_is_found(code):
    service = Service(
        lambda examples: call_error(code, "instances[0].b64: no") if b"5" in examples else None
    )
    found = ask(service, range(16))
    assert [outcome for _, outcome in found if isinstance(outcome, Failed)] == [Failed("no")]
    assert found[5] == (0, Failed("no"))


def test_batches_that_are_too_large_get_smaller():
    learnt = []
    service = Service(
        lambda examples: call_error(Code.INVALID_ARGUMENT, "413") if len(examples) > 6 else None
    )
    found = ask(service, range(20), too_many=learnt.append)
    assert [value.value for _, value in found] == list(range(20))
    assert learnt == [5]


@pytest.mark.parametrize(
    "code",
    [
        Code.INTERNAL,
        Code.DEADLINE_EXCEEDED,
        Code.NOT_FOUND,
        Code.UNAUTHENTICATED,
        Code.PERMISSION_DENIED,
    ],
)
def test_what_fails_everything_stops_the_run(code):
    with pytest.raises(type(call_error(code, "")), match="all of it"):
        ask(Service(lambda _: call_error(code, "all of it")), range(3))


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED])
def test_who_is_away_or_busy_is_asked_again(code):
    service = Service(lambda _: call_error(code, "later") if len(service.requests) < 3 else None)
    assert ask(service, [1]) == [(7, Value(1.0))]
    assert service.requests == [1, 1, 1]


def test_patience_ends():
    service = Service(lambda _: call_error(Code.UNAVAILABLE, "away"))
    with pytest.raises(type(call_error(Code.UNAVAILABLE, "")), match="away"):
        ask(service, [1], patience=0)
    assert service.requests == [1]


def test_a_server_that_hangs_is_not_asked_about_each_item():
    service = Service(lambda _: call_error(Code.DEADLINE_EXCEEDED, "too slow"))
    with pytest.raises(type(call_error(Code.DEADLINE_EXCEEDED, "")), match="too slow"):
        ask(service, range(64), patience=0)
    assert service.requests == [64]


def test_nothing_is_asked_after_the_stop():
    service = Service()
    asker = Asker(service)
    asker.stop()
    with pytest.raises(Stopped):
        asker([item(b"1")])
    assert service.requests == []


def test_values_may_be_zero():
    assert ask(Service(), [0]) == [(7, Value(np.float64(0)))]
