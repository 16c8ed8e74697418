"""Which versions are loaded, and what becomes of those that are not."""

import logging
import shutil
from pathlib import Path

import pytest

from serving.api.status import Code
from serving.model_server.engines.engine import ServableId
from serving.model_server.models.config import All, Latest, ModelConfig, Specific, VersionPolicy
from serving.model_server.models.model import Model
from serving.model_server.models.servable import State
from tests.fake_engine import FakeLoader, add_version


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    return tmp_path / "m"


def make_model(base_path: Path, policy: VersionPolicy | None = None) -> tuple[Model, FakeLoader]:
    loader = FakeLoader()
    return Model(ModelConfig("m", base_path, policy or Latest()), loader), loader


@pytest.mark.parametrize(
    ("policy", "available"),
    [
        (Latest(), [12]),
        (Latest(2), [3, 12]),
        (All(), [1, 3, 12]),
        (Specific(frozenset({1, 12, 99})), [1, 12]),
    ],
)
def test_policies(base_path: Path, policy: VersionPolicy, available: list[int]) -> None:
    for version in (1, "003", 12, "notes", "-4", "1.5"):
        add_version(base_path, version)
    (base_path / "77").write_text("a file is no version")
    model, _ = make_model(base_path, policy)
    model.reconcile()
    assert model.available() == available


def test_a_new_version_replaces_the_old_one(base_path: Path) -> None:
    add_version(base_path, 1)
    model, loader = make_model(base_path)
    model.reconcile()
    add_version(base_path, 2)
    model.reconcile()
    assert model.available() == [2]
    assert loader.engines[1].closed
    assert [(s.version, s.state) for s in model.statuses()] == [
        (2, State.AVAILABLE),
        (1, State.END),
    ]


def test_a_version_in_use_is_closed_only_afterwards(base_path: Path) -> None:
    add_version(base_path, 1)
    model, loader = make_model(base_path)
    model.reconcile()
    servable = model.find(None)
    assert servable is not None
    add_version(base_path, 2)
    model.reconcile()
    assert not loader.engines[1].closed
    assert model.statuses()[1].state == State.UNLOADING
    assert model.find(1) is None
    servable.release()
    assert loader.engines[1].closed
    assert model.statuses()[1].state == State.END


def test_a_broken_version_leaves_the_working_one(
    base_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_version(base_path, 1)
    model, loader = make_model(base_path)
    model.reconcile()
    add_version(base_path, 2, ok=False)
    model.reconcile()
    model.reconcile()
    assert model.available() == [1]
    assert loader.attempts == [1, 2]  # not tried again while nothing changed
    assert not loader.engines[1].closed
    status = model.statuses()[0]
    assert (status.version, status.state, status.code) == (2, State.END, Code.FAILED_PRECONDITION)
    assert status.message == f"{base_path}/2/ok is missing"
    assert "model m version 2 does not load" in caplog.text


def test_a_broken_newest_version_falls_back_at_start(
    base_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_version(base_path, 1)
    add_version(base_path, 2)
    add_version(base_path, 3, ok=False)
    model, _ = make_model(base_path)
    model.reconcile()
    assert model.available() == [2]
    assert "model m serves version 2, because version 3 does not load" in caplog.text


def test_a_mended_version_is_tried_again(base_path: Path) -> None:
    add_version(base_path, 1)
    add_version(base_path, 2, ok=False)
    model, _ = make_model(base_path)
    model.reconcile()
    add_version(base_path, 2)
    model.reconcile()
    assert model.available() == [2]


def test_an_unexpected_error_is_logged_and_not_told(
    base_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_version(base_path, 1)

    def load(servable_id: ServableId, folder: Path) -> FakeLoader:
        raise RuntimeError("deep inside")

    model = Model(ModelConfig("m", base_path), load)  # type: ignore[arg-type]
    model.reconcile()
    status = model.statuses()[0]
    assert (status.code, status.message) == (Code.INTERNAL, "internal error while loading")
    assert "deep inside" in caplog.text


def test_a_folder_that_goes_is_unloaded(base_path: Path) -> None:
    add_version(base_path, 1)
    add_version(base_path, 2)
    model, loader = make_model(base_path)
    model.reconcile()
    shutil.rmtree(base_path / "2")
    model.reconcile()
    assert model.available() == [1]
    assert loader.engines[2].closed


def test_a_base_path_that_goes_keeps_what_is_served(
    base_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_version(base_path, 1)
    model, _ = make_model(base_path)
    model.reconcile()
    aside = base_path.rename(base_path.with_name("aside"))
    model.reconcile()
    model.reconcile()
    assert model.available() == [1]
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [
        f"model m: base path {base_path} cannot be read (No such file or directory); "
        "what may be loaded stays"
    ]
    aside.rename(base_path)
    add_version(base_path, 2)
    model.reconcile()
    assert model.available() == [2]


@pytest.mark.parametrize(
    ("versions", "policy", "trouble"),
    [
        (None, Latest(), "the base path cannot be read: No such file or directory"),
        ([], Latest(), "no version folder, such as 1, in the base path"),
        ([1], Specific(frozenset({2})), "its policy matches none of the versions [1]"),
    ],
)
def test_trouble_names_model_path_and_reason(
    base_path: Path, versions: list[int] | None, policy: VersionPolicy, trouble: str
) -> None:
    if versions is not None:
        base_path.mkdir()
        for version in versions:
            add_version(base_path, version)
    model, _ = make_model(base_path, policy)
    model.reconcile()
    assert model.trouble() == f"model 'm' ({base_path}): {trouble}"


def test_trouble_of_broken_versions(base_path: Path) -> None:
    add_version(base_path, 1, ok=False)
    model, _ = make_model(base_path)
    model.reconcile()
    assert model.trouble() == (
        f"model 'm' ({base_path}): no version loads: version 1: {base_path}/1/ok is missing"
    )
