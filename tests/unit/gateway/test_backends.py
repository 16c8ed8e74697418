import threading

import pytest

from rockstar_client.backend import Query
from rockstar_client.errors import DeadlineExceededError, NotFoundError, UnavailableError
from rockstar_serving.gateway import backends
from rockstar_serving.gateway.backends import FAILURES, CircuitBreaker, LazyBackend
from rockstar_serving.gateway.observers import Observer
from tests.unit.gateway.conftest import FakeServer
from tests.waiting import until
from tfs_api.status import Code

LATE = DeadlineExceededError(Code.DEADLINE_EXCEEDED, "late")


class Server:
    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.calls = 0
        self.proceed = threading.Event()
        self.proceed.set()

    def status(self, _query):
        self.calls += 1
        assert self.proceed.wait(30)
        if self.failure:
            raise self.failure
        return []


class Notes(Observer):
    def __init__(self) -> None:
        self.refusals: list[str] = []

    def refused(self, why, requests=1):
        self.refusals.append(why)


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def backend(server, notes):
    return CircuitBreaker(server, notes, enough=1.0)


def ask(backend, times=1, failure=None, model="toy", timeout=10.0) -> None:
    for _ in range(times):
        if failure is None:
            backend.status(Query(model, timeout=timeout))
        else:
            with pytest.raises(failure):
                backend.status(Query(model, timeout=timeout))


def silence(backend, server) -> None:
    server.failure = LATE
    ask(backend, FAILURES, DeadlineExceededError)


def test_a_silent_model_is_not_asked_any_more(backend, server, notes):
    silence(backend, server)
    ask(backend, 3, UnavailableError)
    assert server.calls == FAILURES
    assert notes.refusals == ["circuit"] * 3


def test_other_models_are(backend, server):
    silence(backend, server)
    server.failure = None
    ask(backend, 3, model="other")
    ask(backend, 1, UnavailableError)


def test_one_call_at_a_time_tries_again_and_its_answer_ends_it(backend, server, monkeypatch):
    monkeypatch.setattr(backends, "PAUSE_S", 0.0)
    silence(backend, server)
    ask(backend, 1, DeadlineExceededError)
    monkeypatch.setattr(backends, "PAUSE_S", 60.0)
    server.failure = None
    server.proceed.clear()
    trial = threading.Thread(target=ask, args=(backend,))
    trial.start()
    until(lambda: server.calls == FAILURES + 2)
    ask(backend, 2, UnavailableError)
    server.proceed.set()
    trial.join()
    ask(backend, 3)


def test_an_answer_of_any_kind_shows_that_it_is_there(backend, server):
    for _ in range(3):
        server.failure = LATE
        ask(backend, FAILURES - 1, DeadlineExceededError)
        server.failure = NotFoundError(Code.NOT_FOUND, "no such model")
        ask(backend, 1, NotFoundError)


def test_callers_in_a_hurry_prove_nothing(backend, server):
    server.failure = LATE
    ask(backend, 3 * FAILURES, DeadlineExceededError, timeout=0.01)


def test_a_lazy_backend_connects_with_the_first_call_and_once():
    made: list[FakeServer] = []

    def connect() -> FakeServer:
        made.append(FakeServer())
        return made[-1]

    late = LazyBackend(connect)
    assert not made
    assert late.contract(Query("toy")) == late.contract(Query("toy"))
    assert len(made) == 1
    late.close()


def test_a_lazy_backend_does_not_connect_to_be_closed():
    made: list[FakeServer] = []
    LazyBackend(lambda: made.append(FakeServer()) or made[-1]).close()
    assert not made
