"""Load in an event loop whose time goes by only when it waits: what is measured is exact."""

import asyncio
import selectors

import pytest

from rockstar_cli.load import OK, LoadPlan, Record, run


class _Selector(selectors.DefaultSelector):
    """Waits by putting the clock forward."""

    now = 0.0

    def select(self, timeout=None):
        if timeout:
            self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self):
        return self.selector.now


class Service:
    """Answers after so many seconds, or after what `stalls` says for a request's number."""

    def __init__(self, seconds: float = 0.1, stalls=None, outcome: str = OK):
        self.seconds, self.stalls, self.outcome = seconds, stalls or {}, outcome
        self.at_once = self.most_at_once = 0
        self.numbers: list[int] = []

    async def __call__(self, number: int, connection: int) -> str:
        self.numbers.append(number)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.stalls.get(number, self.seconds))
        self.at_once -= 1
        return self.outcome


def load(plan: LoadPlan, service: Service) -> Record:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(run(plan, service))


def test_each_connection_sends_when_it_has_its_answer():
    service = Service(0.1)
    record = load(LoadPlan(connections=4, seconds=0.95), service)
    assert len(record.latencies) == 40
    assert service.most_at_once == 4
    assert list(record.latencies) == pytest.approx([0.1] * 40)
    assert record.seconds == pytest.approx(1.0)
    assert service.numbers == list(range(40))


def test_a_number_of_requests_ends_it():
    record = load(LoadPlan(connections=4, seconds=1000.0, requests=10), Service())
    assert len(record.latencies) == 10


def test_a_rate_sends_when_requests_are_due():
    record = load(LoadPlan(connections=4, seconds=2.0, rate=10.0), Service(0.05))
    assert len(record.latencies) == 20
    assert list(record.latencies) == pytest.approx([0.05] * 20)
    assert record.unsent == 0


def test_a_stall_counts_for_all_that_were_due_meanwhile():
    """Coordinated omission: a closed loop would see one slow answer in all."""
    stalled = Service(0.01, stalls={0: 1.0})
    record = load(LoadPlan(connections=1, seconds=2.0, rate=10.0), stalled)
    slow = [latency for latency in record.latencies if latency > 0.05]
    assert len(slow) == 11
    assert max(slow) == pytest.approx(1.0)

    closed = load(LoadPlan(connections=1, seconds=2.0), Service(0.01, stalls={0: 1.0}))
    assert sum(latency > 0.05 for latency in closed.latencies) == 1


def test_what_no_connection_was_free_for_is_told():
    record = load(LoadPlan(connections=2, seconds=0.95, rate=100.0), Service(0.1))
    assert len(record.latencies) == 20
    assert record.unsent == 75
    assert record.seconds == pytest.approx(1.01)


def test_errors_are_counted_and_not_taken_for_answers():
    record = load(LoadPlan(connections=2, seconds=1.0, requests=6), Service(outcome="429"))
    assert record.errors == {"429": 6}
    assert len(record.latencies) == 0
