"""Models and their servables by name, version and label; reloading while the server runs."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rockstar_serving.model_server.deadline import CallerGoneError, Deadline, DeadlinePassedError
from rockstar_serving.model_server.engines.engine import ServableId
from rockstar_serving.model_server.models.config import All, Latest, ModelConfig, Specific
from rockstar_serving.model_server.models.manager import Manager, StartError
from rockstar_serving.model_server.models.servables import State
from rockstar_serving.model_server.options import LoadOptions
from tests.fake_engine import FakeEngine, FakeLoader, add_version, refusal, running
from tests.waiting import until
from tfs_api.model_ref import ModelRef
from tfs_api.status import Code, StatusError

OFTEN = LoadOptions(poll_seconds=0.01, settle_seconds=0)
LABELS = replace(OFTEN, allow_labels_for_unavailable=True)

Starting = tuple[Manager, Future[None]]
Run = Callable[..., AbstractContextManager[Manager]]


def model(base_path: Path, *versions: int, **more: Any) -> ModelConfig:
    """The configuration of a model with these versions, named like its folder."""
    for version in versions:
        add_version(base_path, version)
    return ModelConfig(base_path.name, base_path, **more)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    labels = {"stable": 1, "lost": 9}
    config = model(tmp_path / "m", 1, 2, policy=All(), labels=labels)
    with running(config, options=LABELS) as manager:
        yield manager


def served(manager: Manager, name: str, **which: str | int) -> int | None:
    """The version that responds, or None."""
    try:
        with manager.servable(ModelRef(name, **which)) as servable:  # type: ignore[arg-type]
            return servable.id.version
    except StatusError:
        return None


def states(manager: Manager, name: str) -> dict[int, State]:
    return {status.version: status.state for status in manager.statuses(ModelRef(name))}


def test_a_label_to_nowhere_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(model(tmp_path / "m", 1, labels={"lost": 9}), options=LABELS):
        assert "label 'lost' stands for version 9, which is not loaded" in caplog.text


def test_labels_at_the_start_need_the_flag(tmp_path: Path) -> None:
    manager = Manager([model(tmp_path / "m", 1, labels={"stable": 1})], FakeLoader(), OFTEN)
    with pytest.raises(
        StartError, match=r"^Request to assign label to version 1 of model m, which "
    ):
        manager.start()


def test_without_polling_folders_are_read_once(tmp_path: Path) -> None:
    with running(model(tmp_path / "m", 1)) as manager:
        # A reload polls, but only the models that it changes.
        manager.reload([model(tmp_path / "m", 2), model(tmp_path / "n", 1)])
        assert (served(manager, "m"), served(manager, "n")) == (1, 1)


def test_start_reports_every_model_that_cannot_be_served(tmp_path: Path) -> None:
    loader = FakeLoader()
    configs = [model(tmp_path / "good", 1), model(tmp_path / "bad"), model(tmp_path / "worse")]
    with pytest.raises(StartError) as caught:
        Manager(configs, loader, replace(OFTEN, wait_for_models=False)).start()
    lines = str(caught.value).splitlines()
    assert [line.split()[1] for line in lines] == ["'bad'", "'worse'"]
    assert loader.engines[1].closed


@contextmanager
def starting(*configs: ModelConfig, options: LoadOptions = OFTEN) -> Iterator[Starting]:
    """Start a manager in another thread; its future has the result."""
    manager = Manager(configs, FakeLoader(), options)
    with ThreadPoolExecutor(1) as pool:
        try:
            yield manager, pool.submit(manager.start)
        finally:
            manager.stop()


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (Path.touch, "the base path cannot be read: Not a directory"),
        (Path.mkdir, "no version folder, such as 1, in the base path"),
        (lambda path: add_version(path, 7), "its policy matches none of the versions [7]"),
        (lambda path: add_version(path, 1, ok=False), "no version loads: version 1: "),
    ],
)
def test_the_start_waits_for_the_first_version(tmp_path, caplog, begin, reason):
    """As in TensorFlow Serving; a version that fails to load is awaited while it is retried."""
    base_path = tmp_path / "m"
    begin(base_path)
    expected = f"waiting for model 'm' ({base_path}): {reason}"
    with starting(ModelConfig("m", base_path, Specific(frozenset({1})))) as (manager, started):
        until(lambda: expected in caplog.text, what="it says what it waits for")
        assert not started.done()
        if base_path.is_file():
            base_path.unlink()
        add_version(base_path, 1)
        started.result(30)
        assert served(manager, "m") == 1
    assert caplog.text.count(expected) == 1


def test_the_start_waits_for_every_model_that_is_required(tmp_path: Path) -> None:
    m, n = model(tmp_path / "m", 1), model(tmp_path / "n")
    with starting(m, n) as (manager, started):
        until(lambda: served(manager, "m") == 1, what="one model is loaded")
        assert not started.done()
        add_version(tmp_path / "n", 1)
        started.result(30)
        assert served(manager, "n") == 1


def test_the_start_waits_for_one_model_where_not_all_are_required(tmp_path: Path) -> None:
    m, n = model(tmp_path / "m"), model(tmp_path / "n")
    with starting(m, n, options=replace(OFTEN, require_all_models=False)) as (manager, started):
        until(lambda: "m" in manager._models, what="it has begun")
        assert not started.done()
        add_version(tmp_path / "m", 1)
        started.result(30)
        assert (served(manager, "m"), served(manager, "n")) == (1, None)


@pytest.mark.parametrize("retries", [0, 2])
def test_the_start_fails_when_no_version_is_tried_again(tmp_path: Path, retries: int) -> None:
    add_version(tmp_path / "m", 1, ok=False)
    loader = FakeLoader()
    options = replace(OFTEN, max_load_retries=retries, retry_seconds=0.01)
    with pytest.raises(StartError, match="no version loads: version 1: "):
        Manager([ModelConfig("m", tmp_path / "m")], loader, options).start()
    assert loader.attempts == [1] * (retries + 1)


def test_the_start_does_not_wait_without_polling(tmp_path: Path) -> None:
    options = replace(OFTEN, poll_seconds=0)
    with pytest.raises(StartError, match="No such file or directory"):
        Manager([ModelConfig("m", tmp_path / "m")], FakeLoader(), options).start()


def test_reload_waits_no_longer_than_its_caller_and_the_model(tmp_path: Path) -> None:
    m, n = model(tmp_path / "m"), model(tmp_path / "n")
    gone = threading.Event()
    with running(options=OFTEN) as manager, ThreadPoolExecutor(2) as pool:
        first = pool.submit(manager.reload, [m], wait=True)
        until(lambda: manager.configs == (m,), what="it waits")
        second = pool.submit(manager.reload, [n], Deadline(gone=gone.is_set), wait=True)
        with pytest.raises(StatusError, match="model 'm': was removed"):
            first.result(30)
        gone.set()
        with pytest.raises(CallerGoneError):
            second.result(30)


def test_reload_changes_policies_behind(tmp_path: Path) -> None:
    config = model(tmp_path / "m", 1, 2, 3)
    with running(config, options=OFTEN) as manager:
        assert states(manager, "m") == {3: State.AVAILABLE}
        manager.reload([replace(config, policy=Latest(2))])
        until(lambda: served(manager, "m", version=2) == 2, what="version 2 comes")
        manager.reload([replace(config, policy=Specific(frozenset({1})))])
        until(lambda: served(manager, "m") == 1, what="only version 1 stays")


def test_a_label_without_its_version(manager: Manager) -> None:
    found = refusal(manager.servable, ModelRef("m", label="lost"))
    assert found == (Code.NOT_FOUND, "Servable not found for request: Specific(m, 9)")


def test_reload_moves_labels_at_once(manager: Manager, tmp_path: Path) -> None:
    manager.reload([ModelConfig("m", tmp_path / "m", All(), {"stable": 2, "old": 1})])
    assert served(manager, "m", label="stable") == 2
    assert served(manager, "m", label="old") == 1
    assert served(manager, "m", label="lost") is None


def test_a_label_to_a_version_that_is_not_loaded_changes_nothing(tmp_path: Path) -> None:
    config = model(tmp_path / "m", 1)
    with running(config, options=OFTEN) as manager:
        manager.reload([replace(config, labels={"stable": 1})])
        before = manager.configs
        moved = replace(config, labels={"canary": 1, "stable": 2})
        assert refusal(manager.reload, [moved, model(tmp_path / "n", 1)]) == (
            Code.FAILED_PRECONDITION,
            "Request to assign label to version 2 of model m, which is not currently available "
            "for inference",
        )
        assert manager.configs == before
        assert served(manager, "m", label="stable") == 1
        assert served(manager, "m", label="canary") is served(manager, "n") is None


def test_reload_of_a_new_model_that_does_not_load(tmp_path: Path) -> None:
    add_version(tmp_path / "bad", 4, ok=False)
    m, bad, none = model(tmp_path / "m", 1), model(tmp_path / "bad"), model(tmp_path / "none")
    with running(m, options=OFTEN) as manager:
        assert refusal(manager.reload, [m, bad, none]) == (
            Code.UNKNOWN,
            "2 model(s) did not become available: {{{name: bad version: 4} due to error: "
            f"FAILED_PRECONDITION: {tmp_path}/bad/4/ok is missing}}, "
            "{{name: none} due to error: NOT_FOUND: "
            f"model 'none' ({tmp_path}/none): the base path cannot be read: "
            "No such file or directory}, }",
        )
        # As in TensorFlow Serving, it is served as soon as possible.
        assert served(manager, "m") == 1
        add_version(tmp_path / "bad", 4)
        until(lambda: served(manager, "bad") == 4, what="the mended version is served")


class Gate:
    """A Loader that waits for permission to load some models."""

    def __init__(self, *held: str) -> None:
        self.loader = FakeLoader()
        self.entered: set[str] = set()
        self._open = {name: threading.Event() for name in held}

    def __call__(self, servable_id: ServableId, folder: Path) -> FakeEngine:
        self.entered.add(f"{servable_id.model}/{servable_id.version}")
        if gate := self._open.get(f"{servable_id.model}/{servable_id.version}"):
            assert gate.wait(30)
        return self.loader(servable_id, folder)

    def open(self, name: str) -> None:
        self._open[name].set()


def test_models_load_side_by_side_at_the_start(tmp_path: Path) -> None:
    configs = [model(tmp_path / name, 1) for name in "abc"]
    together = threading.Barrier(3)

    def load(servable_id: ServableId, folder: Path) -> FakeEngine:
        together.wait(30)
        return FakeEngine()

    with running(*configs, load=load, options=OFTEN) as manager:
        assert [served(manager, name) for name in "abc"] == [1, 1, 1]


def test_a_slow_load_holds_up_no_other_where_there_are_threads(tmp_path: Path) -> None:
    gate = Gate("slow/2")
    configs = [model(tmp_path / name, 1) for name in ("slow", "quick")]
    options = replace(OFTEN, load_threads=2, unload_threads=1)
    with running(*configs, load=gate, options=options) as manager:
        add_version(tmp_path / "slow", 2)
        until(lambda: "slow/2" in gate.entered, what="the slow load begins")
        add_version(tmp_path / "quick", 2)
        until(lambda: served(manager, "quick") == 2, what="the other one is loaded")
        until(lambda: states(manager, "quick")[1] == State.END, what="its predecessor is unloaded")
        assert served(manager, "slow") == 1
        assert states(manager, "slow")[2] == State.LOADING
        gate.open("slow/2")
        until(lambda: served(manager, "slow") == 2, what="the slow one is loaded")


def test_a_slow_load_holds_up_no_request_even_without_threads(tmp_path: Path) -> None:
    gate = Gate("m/2")
    with running(model(tmp_path / "m", 1), load=gate, options=OFTEN) as manager:
        add_version(tmp_path / "m", 2)
        until(lambda: "m/2" in gate.entered, what="the slow load begins")
        assert served(manager, "m") == 1
        gate.open("m/2")
        until(lambda: served(manager, "m") == 2, what="it is loaded")


def test_reload_waits_no_longer_than_its_timeout(tmp_path: Path) -> None:
    gate = Gate("slow/1")
    options = replace(OFTEN, load_threads=2)
    slow, quick = model(tmp_path / "slow", 1), model(tmp_path / "quick", 1)
    with running(options=options, load=gate) as manager, ThreadPoolExecutor(1) as pool:
        with pytest.raises(DeadlinePassedError):
            manager.reload([slow], Deadline.after(0.01))
        waiting = pool.submit(manager.reload, [slow, quick])
        until(lambda: served(manager, "quick") == 1, what="the other reload is not held up")
        waiting.result(30)
        gate.open("slow/1")
        until(lambda: served(manager, "slow") == 1, what="it is loaded all the same")


def test_a_stop_ends_a_reload_that_waits(tmp_path: Path) -> None:
    gate = Gate("slow/1")
    slow = model(tmp_path / "slow", 1)
    options = LoadOptions(load_threads=1)
    with running(options=options, load=gate) as manager, ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(manager.reload, [slow])
        until(lambda: "slow/1" in gate.entered, what="the slow load begins")
        stopped = pool.submit(manager.stop)
        with pytest.raises(StatusError, match="the server is stopping"):
            waiting.result(30)
        assert stopped.result(30) is False  # something is still being loaded
        gate.open("slow/1")
        until(lambda: 1 in gate.loader.engines, what="it is loaded")
        until(lambda: gate.loader.engines[1].closed, what="and closed")


def test_a_label_that_moves_while_its_version_is_unloaded_is_read_again(tmp_path: Path) -> None:
    """A label may move between reading its version and acquiring that version."""
    config = model(tmp_path / "m", 1, 2, policy=All(), labels={"stable": 1})
    with running(config, options=LABELS) as manager:
        find = manager._models["m"].servables.acquire

        def move_first(version: int | None) -> object:
            manager._models["m"].servables.acquire = find  # type: ignore[method-assign]
            policy = Specific(frozenset({2}))
            manager.reload([ModelConfig("m", tmp_path / "m", policy, {"stable": 2})])
            until(lambda: states(manager, "m")[1] == State.END, what="version 1 goes")
            return find(version)

        manager._models["m"].servables.acquire = move_first  # type: ignore[assignment, method-assign]
        with manager.servable(ModelRef("m", label="stable")) as servable:
            assert servable.id.version == 2


def test_even_with_the_flag_a_label_does_not_move_to_an_unavailable_version(manager, tmp_path):
    moved = ModelConfig("m", tmp_path / "m", All(), {"stable": 3})
    assert refusal(manager.reload, [moved])[0] == Code.FAILED_PRECONDITION
    assert served(manager, "m", label="stable") == 1
