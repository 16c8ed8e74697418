"""Interpreters lent to requests, with interpreters that only remember their shapes."""

import threading
from typing import Any

import pytest

from rockstar_serving.model_server.deadline import NO_DEADLINE, Deadline
from rockstar_serving.model_server.engines.litert_pool import Pool
from tfs_api.status import Code, StatusError


class Remembering:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}


def pool(*, at_once: int = 2, for_shapes: int = 1) -> tuple[Pool, list[Remembering]]:
    made: list[Any] = []

    def make() -> Any:
        made.append(Remembering())
        return made[-1]

    return Pool(make, make(), at_once=at_once, for_shapes=for_shapes), made


def use(pool: Pool, rows: int, signature: str = "s") -> Any:
    """Borrow, run and give back."""
    shapes = ((rows, 2),)
    interpreter = pool.take(signature, shapes, NO_DEADLINE)
    interpreter.shapes[signature] = shapes
    pool.give_back(interpreter)
    return interpreter


def test_an_interpreter_that_ran_on_the_same_shapes_comes_first() -> None:
    lending, made = pool(for_shapes=3)
    users = {rows: use(lending, rows) for rows in (1, 2, 3)}
    assert len({id(user) for user in users.values()}) == len(made) == 3
    for rows in (2, 3, 1, 3, 2, 1):
        assert use(lending, rows) is users[rows]
    assert len(made) == 3


def test_one_interpreter_has_shapes_for_each_signature() -> None:
    lending, made = pool()
    use(lending, 1, "s")
    use(lending, 5, "t")
    assert made[0].shapes == {"s": ((1, 2),), "t": ((5, 2),)}


def test_of_other_shapes_the_one_that_is_idle_for_longest_is_resized() -> None:
    lending, made = pool(for_shapes=2)
    first, second = use(lending, 1), use(lending, 2)
    use(lending, 1)
    assert use(lending, 3) is second
    assert use(lending, 4) is first
    assert len(made) == 2


def test_one_that_is_lent_is_not_lent_again() -> None:
    lending, made = pool()
    first = lending.take("s", ((1, 2),), NO_DEADLINE)
    second = lending.take("s", ((1, 2),), NO_DEADLINE)
    assert first is not second
    assert len(made) == 2


def test_who_comes_when_all_are_lent_waits() -> None:
    lending, made = pool(at_once=1)
    first = lending.take("s", ((1, 2),), NO_DEADLINE)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(use(lending, 1)))
    waiting.start()
    with pytest.raises(StatusError) as caught:
        lending.take("s", ((1, 2),), Deadline.after(0.01))
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    assert not got
    lending.give_back(first)
    waiting.join(30)
    assert got == [first]
    assert len(made) == 1


def test_a_deadline_that_has_passed_takes_none() -> None:
    lending, _ = pool(at_once=1)
    for _ in range(3):
        with pytest.raises(StatusError) as caught:
            lending.take("s", ((1, 2),), Deadline.after(-1))
        assert caught.value.code == Code.DEADLINE_EXCEEDED
    assert use(lending, 1)


def test_one_that_failed_is_replaced() -> None:
    lending, made = pool(at_once=1)
    for _ in range(3):
        lending.take("s", ((1, 2),), NO_DEADLINE)
        lending.give_back(None)
    assert use(lending, 1) is made[-1]
    assert len(made) == 4


def test_one_that_cannot_be_made_holds_no_place() -> None:
    def fail() -> Any:
        raise MemoryError

    lending = Pool(fail, Remembering(), at_once=1, for_shapes=1)  # type: ignore[arg-type]
    lending.take("s", ((1, 2),), NO_DEADLINE)
    lending.give_back(None)
    for _ in range(3):
        with pytest.raises(MemoryError):
            lending.take("s", ((1, 2),), NO_DEADLINE)
