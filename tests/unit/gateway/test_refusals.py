import re

import pytest

from rockstar_serving.gateway import refusals
from rockstar_serving.gateway.observer import Observer
from rockstar_serving.gateway.refusals import Refusals

ID = b"0123456789abcdef" * 2
ANSWER = (
    b"HTTP/1.1 429 Too Many Requests\r\nX-Request-ID: %s\r\nRetry-After: 1\r\n\r\n"
    b'{"request_id": "%s"}' % (ID, ID)
)


class Counted(Observer):
    def __init__(self) -> None:
        self.refusals: list[tuple[str, int]] = []

    def refused(self, why, requests=1):
        self.refusals.append((why, requests))


@pytest.fixture
def observer():
    return Counted()


@pytest.fixture
def kept(observer):
    kept = Refusals(observer)
    kept.keep(request("/predict/cnn"), ANSWER)
    return kept


def request(path: str, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


@pytest.mark.parametrize("path", ["/predict/cnn", "/predict/mlp?top=3"])
def test_what_is_alike_hears_the_same_with_an_id_of_its_own(kept, path):
    answers = {kept.again(request(path, "Accept: */*", "Connection: keep-alive")) for _ in range(3)}
    assert len(answers) == 3
    for answer in answers:
        header, body = re.findall(rb"[0-9a-f]{32}", answer)
        assert header == body != ID
        assert answer.replace(header, ID) == ANSWER


@pytest.mark.parametrize(
    "other",
    [
        request("/v2/models/cnn/infer"),
        request("/predict/cnn", "Origin: https://example.org"),
        request("/predict/cnn", "X-Request-ID: mine"),
        request("/predict/cnn", "Connection: close"),
        request("/predict/cnn", version="1.0"),
    ],
)
def test_what_is_not_alike_is_the_applications(kept, other):
    assert kept.again(other) is None


def test_an_old_answer_is_not_said_again(kept, monkeypatch):
    monkeypatch.setattr(refusals, "_FRESH_S", -1.0)
    assert kept.again(request("/predict/cnn")) is None


def test_they_are_counted_together(kept, observer, caplog):
    kept.tell()
    for _ in range(5):
        kept.again(request("/predict/cnn"))
    kept.tell()
    kept.tell()
    assert observer.refusals == [("queue", 5)]
    assert "refused 5 requests" in caplog.text
