"""Retries, and the search for the items that make a batch fail."""

import json

import numpy as np
import pytest

from rockstar_client import HttpClient
from rockstar_client.bulk.batch_client import BatchClient, Stopped, over_http
from rockstar_client.bulk.items import BatchResult, Failed, Item
from rockstar_client.errors import call_error, invalid_request
from rockstar_contract.contract import Value
from rockstar_contract.csv_rows import read_rows
from rockstar_contract.errors import InvalidInputError
from tests.unit.clients.http_server import Server, answer, running
from tfs_api.status import Code


def item(content: bytes) -> Item:
    return Item(content.decode(), "", len(content), (), lambda: content)


class Service:
    """Predicts the number in each example; `wrong` returns the error for a request, or None."""

    def __init__(self, wrong=lambda examples: None):
        self.wrong = wrong
        self.requests = []

    def __call__(self, examples):
        self.requests.append(len(examples))
        error = self.wrong(examples)
        if error is not None:
            raise error
        return BatchResult(7, [Value(float(example)) for example in examples])


def predict(service, contents, **options):
    """The versions and outcomes."""
    found = BatchClient(service, **options).predict([item(b"%d" % n) for n in contents])
    return [(result.version, result.outcome) for result in found]


def test_answers_keep_their_order():
    assert predict(Service(), range(5)) == [(7, Value(float(n))) for n in range(5)]


def test_an_item_that_cannot_be_read_is_not_sent():
    def fail():
        raise InvalidInputError("x.png", expected="a readable file", got="none")

    service = Service()
    items = [item(b"1"), Item("x.png", "", 0, (), fail), item(b"2")]
    found = BatchClient(service).predict(items)
    assert [result.item for result in found] == items
    assert [result[1:] for result in found] == [
        (7, Value(1.0)),
        (0, Failed("expected a readable file, got none")),
        (7, Value(2.0)),
    ]
    assert service.requests == [2]


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.INTERNAL, Code.DEADLINE_EXCEEDED])
def test_the_item_that_fails_a_batch_is_found(code):
    service = Service(
        lambda examples: call_error(code, "instances[0].b64: no") if b"5" in examples else None
    )
    found = predict(service, range(16))
    assert [outcome for _, outcome in found if isinstance(outcome, Failed)] == [Failed("no")]
    assert found[5] == (0, Failed("no"))


@pytest.mark.parametrize(("detail", "hint"), [("", ""), ("; send rows", "; send rows")])
def test_hints_for_callers_of_the_api_are_left_out(detail, hint):
    members = {"field": "instances[0]", "expected": "a", "got": "b"}
    members["hint"] = detail.removeprefix("; ") or "GET /docs shows what can be sent."
    error = call_error(Code.INVALID_ARGUMENT, f"instances[0]: expected a, got b{detail}")
    ((_, outcome),) = predict(Service(lambda _: error.about(members, 0)), [1])
    assert outcome == Failed(f"expected a, got b{hint}")


def test_an_unknown_column_of_a_file_in_another_encoding():
    (row,) = read_rows("odejście\n1\n".encode("cp1250"), "f")
    error = invalid_request(
        InvalidInputError("body row 1.x", expected="a", got="an unknown column 'x'", hint="h")
    )
    read = Item("f:1", "", 1, ("odejœcie",), lambda: row)
    ((_, _, outcome),) = BatchClient(Service(lambda _: error)).predict([read])
    assert outcome.reason.startswith("x: expected a, got an unknown column 'x'; h; read as Windows")


def test_batches_that_are_too_large_are_halved():
    sizes = []
    service = Service(
        lambda examples: call_error(Code.INVALID_ARGUMENT, "413") if len(examples) > 6 else None
    )
    found = predict(service, range(20), on_too_many=sizes.append)
    assert [value.value for _, value in found] == list(range(20))
    assert sizes == [5]


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
def test_errors_of_the_whole_batch_are_raised(code):
    with pytest.raises(type(call_error(code, "")), match="whole batch"):
        predict(Service(lambda _: call_error(code, "whole batch")), range(3))


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED])
def test_unavailable_and_overloaded_services_are_retried(code):
    service = Service(lambda _: call_error(code, "later") if len(service.requests) < 3 else None)
    assert predict(service, [1]) == [(7, Value(1.0))]
    assert service.requests == [1, 1, 1]


def test_retries_end_after_the_patience():
    service = Service(lambda _: call_error(Code.UNAVAILABLE, "away"))
    with pytest.raises(type(call_error(Code.UNAVAILABLE, "")), match="away"):
        predict(service, [1], patience=0)
    assert service.requests == [1]


def test_a_hanging_server_is_not_sent_each_item():
    service = Service(lambda _: call_error(Code.DEADLINE_EXCEEDED, "too slow"))
    with pytest.raises(type(call_error(Code.DEADLINE_EXCEEDED, "")), match="too slow"):
        predict(service, range(64), patience=0)
    assert service.requests == [64]


def test_nothing_is_sent_after_stop():
    service = Service()
    client = BatchClient(service)
    client.stop()
    with pytest.raises(Stopped):
        client.predict([item(b"1")])
    assert service.requests == []


def test_values_may_be_zero():
    assert predict(Service(), [0]) == [(7, Value(np.float64(0)))]


def test_scores_of_a_gateway_may_be_nan():
    item = {"label": "a", "score": None, "top": [{"label": "a", "score": None}]}
    body = json.dumps({"version": 7, "predictions": [item]}).encode()
    with running(Server([answer("200 OK", body)])) as server, HttpClient(server.url) as client:
        version, (outcome,) = over_http(client, "toy")([b"an image"])
    assert (version, outcome.label) == (7, "a")
    assert np.isnan([outcome.score, outcome.top[0].score]).all()
