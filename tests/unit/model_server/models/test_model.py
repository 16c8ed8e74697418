"""Planning and loading versions, and handling failures."""

import logging
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rockstar_serving.model_server.engines.engine import ServableId
from rockstar_serving.model_server.models.config import (
    All,
    Latest,
    ModelConfig,
    Specific,
    VersionPolicy,
)
from rockstar_serving.model_server.models.model import Model, Outlook, Plan, Readiness, make_plan
from rockstar_serving.model_server.models.servables import State
from rockstar_serving.model_server.options import LoadOptions
from tests.fake_engine import FakeLoader, add_version
from tfs_api.status import Code


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    return tmp_path / "m"


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


WRITTEN = LoadOptions(settle_seconds=0)


def make_model(
    base_path: Path,
    policy: VersionPolicy | None = None,
    options: LoadOptions = WRITTEN,
    clock: Callable[[], float] | None = None,
) -> tuple[Model, FakeLoader]:
    loader = FakeLoader()
    config = ModelConfig("m", base_path, policy or Latest())
    return Model(config, loader, options, lambda task: task(), clock or Clock()), loader


def reconcile(model: Model) -> float:
    """Check the folder and run all due actions; returns the seconds until the next."""
    model.look()
    while True:
        tasks, seconds = model.plan()
        if not tasks:
            return seconds
        for task in tasks:
            task()


def started(base_path: Path, versions: list[int], *arguments: Any, **named: Any) -> Any:
    """A model with these versions in its folder, which were loaded, and its loader."""
    for version in versions:
        add_version(base_path, version)
    model, loader = make_model(base_path, *arguments, **named)
    reconcile(model)
    return model, loader


def available(model: Model) -> list[int]:
    return list(model.servables.available())


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Latest(), [12]),
        (Latest(2), [3, 12]),
        (All(), [1, 3, 12]),
        (Specific(frozenset({1, 12, 99})), [1, 12]),
    ],
)
def test_policies(base_path: Path, policy: VersionPolicy, expected: list[int]) -> None:
    for version in (1, "003", 12, "notes", "-4", "1.5"):
        add_version(base_path, version)
    (base_path / "77").write_text("a file is no version")
    model, _ = started(base_path, [], policy)
    assert available(model) == expected
    assert model.outlook != Outlook.BUSY


def test_a_version_in_use_is_closed_only_afterwards(base_path: Path) -> None:
    model, loader = started(base_path, [1])
    servable = model.servables.acquire(None)
    assert servable is not None
    add_version(base_path, 2)
    reconcile(model)
    assert not loader.engines[1].closed
    assert model.servables.statuses()[1].state == State.UNLOADING
    assert model.servables.acquire(1) is None
    servable.release()
    assert loader.engines[1].closed
    assert model.servables.statuses()[1].state == State.END


def test_the_working_version_stays_if_the_only_chosen_one_is_broken(base_path: Path) -> None:
    add_version(base_path, 2, ok=False)
    model, _ = started(base_path, [1], Specific(frozenset({1})))
    model.configure(ModelConfig("m", base_path, Specific(frozenset({2}))))
    reconcile(model)
    assert available(model) == [1]
    add_version(base_path, 2)
    reconcile(model)
    assert available(model) == [2]


def test_a_broken_version_is_retried_as_often_as_the_options_say(base_path, caplog):
    add_version(base_path, 1)
    add_version(base_path, 2, ok=False)
    clock = Clock()
    options = LoadOptions(settle_seconds=0, max_load_retries=2, retry_seconds=60)
    model, loader = make_model(base_path, options=options, clock=clock)
    assert reconcile(model) == 60
    assert "it is tried again in 60 s (retry 1), or as soon as its folder changes" in caplog.text
    for tries in (2, 3):
        clock.now += 59
        assert reconcile(model) == 1
        clock.now += 1
        reconcile(model)
        assert loader.attempts == [2, 1] + [2] * (tries - 1)
    assert reconcile(model) == float("inf")
    clock.now += 1000
    reconcile(model)
    assert loader.attempts == [2, 1, 2, 2]
    assert caplog.messages[-1].endswith("it is tried again as soon as its folder changes")
    assert available(model) == [1]
    assert model.servables.statuses()[0].state == State.END


def test_a_retry_that_works_takes_over(base_path: Path) -> None:
    add_version(base_path, 1)
    add_version(base_path, 2)
    clock = Clock()
    model, loader = make_model(base_path, clock=clock)
    loader.fails = {2}
    reconcile(model)
    assert available(model) == [1]
    loader.fails = set()
    reconcile(model)
    assert available(model) == [1]  # not due yet
    clock.now += 60
    model.look()
    (retry,), _ = model.plan()
    assert [s.state for s in model.servables.statuses()] == [State.START, State.AVAILABLE]
    retry()
    model.plan()
    assert available(model) == [2]
    assert loader.engines[1].closed


def test_an_unexpected_error_is_logged_but_not_reported(base_path, caplog):
    add_version(base_path, 1)

    def load(servable_id: ServableId, folder: Path) -> FakeLoader:
        raise RuntimeError("deep inside")

    model = Model(ModelConfig("m", base_path), load, WRITTEN, lambda task: task())
    reconcile(model)
    status = model.servables.statuses()[0]
    assert (status.code, status.message) == (Code.INTERNAL, "internal error while loading")
    assert "deep inside" in caplog.text


def test_a_folder_that_goes_is_unloaded(base_path: Path) -> None:
    model, loader = started(base_path, [1, 2])
    shutil.rmtree(base_path / "2")
    reconcile(model)
    assert available(model) == [1]
    assert loader.engines[2].closed


def test_served_versions_stay_if_the_base_path_disappears(base_path, caplog):
    model, _ = started(base_path, [1])
    aside = base_path.rename(base_path.with_name("aside"))
    reconcile(model)
    reconcile(model)
    assert available(model) == [1]
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        f"model m: base path {base_path} cannot be read (No such file or directory); "
        "what may be loaded stays"
    ]
    aside.rename(base_path)
    add_version(base_path, 2)
    reconcile(model)
    assert available(model) == [2]


def test_versions_that_load_too_late_are_closed(base_path: Path) -> None:
    add_version(base_path, 1)
    model, loader = make_model(base_path)
    model.look()
    (load,), _ = model.plan()
    model.servables.close()
    load()
    assert loader.engines[1].closed


def test_a_folder_that_is_being_written_is_not_touched(base_path: Path) -> None:
    add_version(base_path, 1)
    clock = Clock()
    model, loader = make_model(base_path, options=LoadOptions(settle_seconds=1000), clock=clock)
    assert 0 < reconcile(model) <= 1000
    assert model.outlook == Outlook.BUSY
    clock.now += 1000
    reconcile(model)
    assert model.outlook != Outlook.BUSY
    folder = add_version(base_path, 2, ok=False)
    for size in range(5):
        (folder / "weights").write_bytes(b"." * size)
        clock.now += 900
        assert 0 < reconcile(model) <= 1000
        assert loader.attempts == [1]
        assert available(model) == [1]
    (folder / "ok").touch()
    reconcile(model)
    clock.now += 1000
    reconcile(model)
    assert loader.attempts == [1, 2]
    assert available(model) == [2]


def test_a_missing_chosen_version_is_logged_once(base_path, caplog):
    model, _ = started(base_path, [1], Specific(frozenset({1, 2})))
    reconcile(model)
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        f"model m ({base_path}): its policy asks for the versions [2], which are not in the base "
        "path"
    ]


def test_diagnosis_of_a_base_path_that_is_a_version(base_path: Path) -> None:
    base_path.mkdir()
    (base_path / "saved_model.pb").touch()
    model, _ = started(base_path, [])
    assert model.diagnose().endswith(
        "no version folder, such as 1, in the base path: it holds a model itself, which belongs in "
        "a folder below it"
    )


READY, SOON, NOT_READY = Readiness.READY, Readiness.SOON, Readiness.NOT_READY

numbers = st.frozensets(st.integers(0, 6))
policies: st.SearchStrategy[VersionPolicy] = st.one_of(
    st.builds(Latest, st.integers(1, 3)), st.just(All()), st.builds(Specific, numbers.filter(bool))
)


def here(versions: Collection[int]) -> dict[int, Path]:
    return dict.fromkeys(versions, Path("here"))


def plan(policy: VersionPolicy, found: set[int], serving: set[int], **readiness: Readiness) -> Plan:
    return make_plan(
        policy, here(found), here(serving), set(), lambda version: readiness[f"v{version}"]
    )


def test_a_version_that_will_soon_be_ready_keeps_its_place() -> None:
    assert plan(Latest(), {1, 2}, set(), v1=READY, v2=SOON) == Plan(awaited=(2,))
    assert plan(Latest(), {1, 2}, {1}, v2=SOON) == Plan(awaited=(2,))


@given(policies, numbers, numbers, numbers, numbers, numbers)
def test_served_versions_stay_until_there_is_a_better_one(
    policy: VersionPolicy,
    found: frozenset[int],
    available: frozenset[int],
    loading: frozenset[int],
    ready: frozenset[int],
    soon: frozenset[int],
) -> None:
    assume(not available & loading)
    readiness = (
        dict.fromkeys(range(7), NOT_READY) | dict.fromkeys(soon, SOON) | dict.fromkeys(ready, READY)
    )
    plan = make_plan(policy, here(found), here(available), loading, readiness.__getitem__)
    # No version is loaded twice, without a folder, or before it is ready.
    assert set(plan.load) <= (found & ready) - available - loading
    if plan.unload:
        # A version that the policy chooses is unloaded only when its folder is removed, and
        # the last version only if the policy chooses none.
        assert not set(plan.unload) & policy.choose(found)
        assert available - set(plan.unload) or not policy.choose(found)
    # Once everything is ready and loaded, exactly the chosen versions remain.
    if ready >= found and not plan.load and not loading & found:
        assert available - set(plan.unload) == policy.choose(found)
