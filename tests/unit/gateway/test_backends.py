"""Batching, the circuit breaker, and lazy connections."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rockstar_client.backend import Query, TensorResponse
from rockstar_client.errors import (
    DeadlineExceededError,
    NotFoundError,
    UnavailableError,
    call_error,
)
from rockstar_serving.gateway import backends
from rockstar_serving.gateway.backends import (
    FAILURES,
    AsyncBatching,
    BackendWrapper,
    Batching,
    BatchLimits,
    CircuitBreaker,
    LazyBackend,
)
from rockstar_serving.gateway.call_threads import CallThreads
from rockstar_serving.model_server.deadline import WouldBlockError
from tests.unit.gateway.conftest import FakeServer, Notes
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


@pytest.fixture
def server():
    return Server()


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


def test_a_model_that_times_out_is_not_called_again(backend, server, notes):
    silence(backend, server)
    ask(backend, 3, UnavailableError)
    assert server.calls == FAILURES
    assert notes.refusals == ["circuit"] * 3


def test_other_models_are(backend, server):
    silence(backend, server)
    server.failure = None
    ask(backend, 3, model="other")
    ask(backend, 1, UnavailableError)


def test_one_call_at_a_time_probes_and_its_response_closes_the_circuit(
    backend, server, monkeypatch
):
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


def test_any_response_shows_that_it_is_available(backend, server):
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


class GatedBackend:
    """Doubles its input; fails batches with a negative number."""

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []
        self.keys: list[Query] = []
        self.timeouts: list[float | None] = []
        self.failure: Exception | None = None
        self.bad: Exception | None = None
        self.outputs = lambda batch: {"y": batch * 2}
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def predict(self, query):
        (batch,) = query.inputs.values()
        with self._lock:
            self.batches.append(batch)
            self.keys.append(replace(query, inputs=None, timeout=None))
            self.timeouts.append(query.timeout)
        assert self.gate.wait(30)
        if self.failure:
            raise self.failure
        if self.bad and batch.dtype.kind == "f" and (batch < 0).any():
            raise self.bad
        return TensorResponse(self.outputs(batch), 7)

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


class Callers:
    """Calls a backend in threads, which enter its queue one after the other."""

    def __init__(self, backend, gated: GatedBackend) -> None:
        self.backend = backend
        self.gated = gated
        self.pool = ThreadPoolExecutor(32)

    def hold(self, inputs, **options):
        """A call that is in flight, and stays so until `release`."""
        self.gated.gate.clear()
        before = len(self.gated.batches)
        future = self.send(inputs, **options)
        until(lambda: len(self.gated.batches) > before)
        return future

    def queue(self, inputs, **options):
        """A call that waits for the one in flight."""
        before = self.waiting()
        future = self.send(inputs, **options)
        until(lambda: self.waiting() > before)
        return future

    def send(self, inputs, *, model="toy", timeout=30.0, **options):
        query = Query(model, {"x": inputs}, timeout=timeout, **options)
        return self.pool.submit(self.backend.predict, query)

    def waiting(self) -> int:
        return sum(len(queue.waiting) for queue in list(self.backend._queues.values()))

    def release(self) -> None:
        self.gated.gate.set()


def rows(*values: float, dtype=np.float32) -> np.ndarray:
    return np.array(values, dtype).reshape(-1, 1)


@pytest.fixture
def gated():
    return GatedBackend()


@pytest.fixture(params=[Batching, AsyncBatching])
def batching(request, loop):
    """Creates either kind of batching around a backend."""
    if request.param is Batching:
        yield Batching
        return
    threads = CallThreads(loop, 32)
    yield lambda *arguments: AsyncBatching(*arguments, loop, threads)
    threads.close()


@pytest.fixture
def start_callers(gated, notes, batching):
    started = []

    def start_callers(max_calls=1):
        limits = BatchLimits(8, max_calls)
        started.append(Callers(batching(gated, limits, notes), gated))
        return started[-1]

    yield start_callers
    gated.gate.set()
    for callers in started:
        callers.pool.shutdown()
        until(lambda callers=callers: not callers.backend._queues)


@pytest.fixture
def callers(start_callers):
    return start_callers()


def answer(future) -> list[float]:
    response = future.result(30)
    assert response.version == 7
    values: list[float] = response.outputs["y"].ravel().tolist()
    return values


def test_at_rest_a_request_goes_alone_and_at_once(callers, gated):
    for value in (1, 2):
        assert answer(callers.send(rows(value))) == [2 * value]
    assert gated.sizes == [1, 1]


def test_waiting_requests_form_a_batch_and_get_their_own_rows(callers, gated, notes):
    first = callers.hold(rows(1))
    others = [callers.queue(rows(*range(n, 2 * n))) for n in (1, 2, 3)]
    callers.release()
    assert answer(first) == [2]
    assert [answer(other) for other in others] == [[2], [4, 6], [6, 8, 10]]
    assert gated.sizes == [1, 6]
    assert notes.batches == [3]


def test_a_batch_takes_no_more_rows_than_the_largest(callers, gated):
    first = callers.hold(rows(0))
    others = [callers.queue(rows(*[n] * 3)) for n in range(2)]
    last = callers.queue(rows(5))
    callers.release()
    for future in (first, *others, last):
        answer(future)
    assert gated.sizes == [1, 7]


def test_a_full_batch_does_not_wait(callers, gated):
    first = callers.hold(rows(0))
    waiting = [callers.queue(rows(n)) for n in range(7)]
    full = callers.send(rows(7))
    until(lambda: gated.sizes == [1, 8])
    callers.release()
    for n, future in enumerate([*waiting, full]):
        assert answer(future) == [2 * n]
    answer(first)


def test_as_many_calls_as_are_allowed_go_at_a_time(start_callers, gated):
    callers = start_callers(max_calls=2)
    first, second = callers.hold(rows(0)), callers.hold(rows(1))
    others = [callers.queue(rows(n)) for n in (2, 3)]
    callers.release()
    assert [answer(future) for future in (first, second, *others)] == [[0], [2], [4], [6]]
    assert sorted(gated.sizes) == [1, 1, 2]


def test_a_request_as_large_as_a_batch_goes_alone(callers, gated):
    first = callers.hold(rows(0))
    large = callers.send(rows(*range(8)))
    larger = callers.send(rows(*range(20)))
    until(lambda: sorted(gated.sizes) == [1, 8, 20])
    callers.release()
    assert answer(larger) == [2 * n for n in range(20)]
    answer(large)
    answer(first)


@pytest.mark.parametrize(
    "other",
    [{"version": 2}, {"label": "stable"}, {"signature": "other"}, {"outputs": ("y",)}, {"model": "tot"}],
)  # fmt: skip
def test_other_versions_labels_signatures_and_models_do_not_wait(callers, gated, other):
    first = callers.hold(rows(0))
    second = callers.hold(rows(0), **other)
    callers.release()
    answer(first)
    answer(second)
    assert gated.sizes == [1, 1]
    assert len(set(gated.keys)) == 2


def test_other_dtypes_and_shapes_are_not_mixed(callers, gated):
    first = callers.hold(rows(0))
    kinds = [rows(1), rows(2, dtype=np.int32), np.ones((1, 2), np.float32), rows(3)]
    others = [callers.queue(kind) for kind in kinds]
    callers.release()
    answer(first)
    assert [answer(other) for other in others] == [[2], [4], [2, 2], [6]]
    assert sorted((*batch.shape, batch.dtype.name) for batch in gated.batches[1:]) == [
        (1, 1, "int32"), (1, 2, "float32"), (2, 1, "float32"),
    ]  # fmt: skip


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.INTERNAL])
def test_one_bad_input_fails_alone(callers, gated, code):
    gated.bad = call_error(code, "negative")
    first = callers.hold(rows(0))
    good, bad, other = (callers.queue(rows(value)) for value in (1, -1, 2))
    callers.release()
    assert (answer(first), answer(good), answer(other)) == ([0], [2], [4])
    with pytest.raises(type(gated.bad), match="negative"):
        bad.result(30)
    assert gated.sizes == [1, 3, 1, 1, 1]


def test_a_server_that_is_down_fails_all_with_one_call(callers, gated):
    first = callers.hold(rows(0))
    others = [callers.queue(rows(n)) for n in range(3)]
    gated.failure = UnavailableError(Code.UNAVAILABLE, "down")
    callers.release()
    for future in (first, *others):
        with pytest.raises(UnavailableError, match="down"):
            future.result(30)
    assert gated.sizes == [1, 3]


def test_after_a_response_of_another_length_each_call_is_repeated(callers, gated):
    gated.outputs = lambda batch: {"y": batch * 2, "count": np.array(len(batch))}
    first = callers.hold(rows(0))
    others = [callers.queue(rows(n)) for n in (1, 2)]
    callers.release()
    assert [answer(other) for other in others] == [[2], [4]]
    answer(first)


def test_an_unexpected_error_reaches_every_request(callers, gated):
    first = callers.hold(rows(0))
    others = [callers.queue(rows(n)) for n in (1, 2)]
    gated.failure = MemoryError("no room")
    callers.release()
    for future in (first, *others):
        with pytest.raises(MemoryError):
            future.result(30)


def test_each_waits_no_longer_than_its_own_deadline(callers, gated):
    first = callers.hold(rows(0))
    patient = callers.queue(rows(1))
    with pytest.raises(DeadlineExceededError):
        callers.send(rows(2), timeout=0.05).result(30)
    callers.release()
    assert (answer(first), answer(patient)) == ([0], [2])
    # The call that timed out was not sent.
    assert gated.sizes == [1, 1]


def test_the_call_of_many_lasts_as_long_as_the_most_patient_allows(callers, gated):
    first = callers.hold(rows(0))
    others = [callers.queue(rows(n), timeout=t) for n, t in ((1, 20.0), (2, 60.0), (3, 40.0))]
    callers.release()
    for future in (first, *others):
        answer(future)
    assert 40 < gated.timeouts[1] <= 60


def test_a_request_that_times_out_does_not_affect_the_others(callers, gated):
    first = callers.hold(rows(0))
    hasty = callers.queue(rows(1), timeout=1.0)
    patient = callers.queue(rows(2))
    # The first call returns; the batch stays in flight until the hasty call times out.
    held, gated.gate = gated.gate, type(gated.gate)()
    held.set()
    with pytest.raises(DeadlineExceededError):
        hasty.result(30)
    gated.gate.set()
    assert (answer(first), answer(patient)) == ([0], [4])
    assert gated.sizes == [1, 2]


def test_rows_that_do_not_agree_are_left_as_they_are(callers, gated):
    first = callers.hold(rows(0))
    scalar = callers.send(np.float32(3))
    until(lambda: len(gated.batches) == 2)
    callers.release()
    assert scalar.result(30).outputs["y"] == 6
    answer(first)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(2, 8))
def test_everyone_gets_their_own(batching, sizes, largest):
    gated = GatedBackend()
    callers = Callers(batching(gated, BatchLimits(largest, 1), Notes()), gated)
    try:
        futures = [
            callers.send(np.full((size, 1), index, np.float32)) for index, size in enumerate(sizes)
        ]
        for index, (size, future) in enumerate(zip(sizes, futures, strict=True)):
            assert answer(future) == [2 * index] * size
        assert sum(gated.sizes) == sum(sizes)
        assert all(size <= largest or size in sizes for size in gated.sizes)
        assert not callers.backend._queues
    finally:
        callers.pool.shutdown()


class LocalBackend(BackendWrapper):
    """Runs in this process, unless it is busy; records in which threads."""

    def __init__(self):
        super().__init__(GatedBackend())
        self.busy = False
        self.threads = []

    def predict(self, query):
        self.threads.append(threading.current_thread().name)
        return super().predict(query)

    def predict_now(self, query):
        if self.busy:
            raise WouldBlockError
        return self.predict(query)


def test_quick_calls_run_on_the_event_loop_and_others_in_threads(loop, notes, monkeypatch):
    threads, local = CallThreads(loop, 1), LocalBackend()
    batching = AsyncBatching(local, BatchLimits(8, 1), notes, loop, threads)

    def ran_in():
        response = batching.predict(Query("toy", {"x": rows(3)}, timeout=30))
        assert response.outputs["y"].tolist() == [[6]]
        return local.threads[-1]

    assert ran_in() == "calls"  # it has not been measured yet
    on_loop = ran_in()
    assert on_loop != "calls"
    local.busy = True
    assert ran_in() == "calls"
    local.busy = False
    assert ran_in() == on_loop
    monkeypatch.setattr(backends, "_QUICK_S", 0)
    assert ran_in() == "calls"
    threads.close()


def test_a_model_that_is_slow_runs_on_the_event_loop_once_at_most(loop, notes, monkeypatch):
    threads, local = CallThreads(loop, 1), LocalBackend()
    batching = AsyncBatching(local, BatchLimits(8, 1), notes, loop, threads)
    query = Query("toy", {"x": rows(3)}, timeout=30)
    # A refusal is quick, and says nothing about the model.
    local._backend.failure = UnavailableError(Code.UNAVAILABLE, "away")
    for _ in range(2):
        with pytest.raises(UnavailableError):
            batching.predict(query)
    local._backend.failure = None
    clock = iter(range(100))
    batching.predict(query)
    monkeypatch.setattr(backends.time, "perf_counter", lambda: next(clock))
    for _ in range(2):
        batching.predict(query)
    assert local.threads[:3] == ["calls"] * 3
    assert local.threads[3] != "calls"
    assert local.threads[4] == "calls"
    threads.close()


def test_a_request_that_follows_a_response_at_once_joins_those_that_wait(loop, notes, gated):
    threads = CallThreads(loop, 1)
    batching = AsyncBatching(gated, BatchLimits(8, 1), notes, loop, threads)
    callers = Callers(batching, gated)

    async def predict_twice():
        for _ in range(2):
            await batching.predict_async(Query("toy", {"x": rows(3)}, timeout=30))

    gated.gate.clear()
    twice = asyncio.run_coroutine_threadsafe(predict_twice(), loop)
    until(lambda: gated.batches)
    waiting = callers.queue(rows(4))
    callers.release()
    twice.result(30)
    assert answer(waiting) == [8]
    assert gated.sizes == [1, 2]
    callers.pool.shutdown()
    threads.close()
