"""Models and their servables by name, version and label."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.api.status import Code, StatusError
from serving.model_server.models.config import All, ModelConfig
from serving.model_server.models.manager import Manager, ModelRef, StartError
from serving.model_server.options import LoadOptions
from tests.fake_engine import FakeLoader, add_version
from tests.waiting import until


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    for version in (1, 2):
        add_version(tmp_path / "m", version)
    config = ModelConfig("m", tmp_path / "m", All(), {"stable": 1, "lost": 9})
    manager = Manager([config], FakeLoader(), LoadOptions(poll_seconds=0.01))
    manager.start()
    yield manager
    manager.stop()


@pytest.mark.parametrize(
    ("ref", "version"),
    [
        (ModelRef("m"), 2),
        (ModelRef("m", version=1), 1),
        (ModelRef("m", label="stable"), 1),
    ],
)
def test_servable(manager: Manager, ref: ModelRef, version: int) -> None:
    with manager.servable(ref) as servable:
        assert servable.id.version == version


@pytest.mark.parametrize(
    ("ref", "code", "message"),
    [
        (ModelRef("x"), Code.NOT_FOUND, "Servable not found for request: Latest(x)"),
        (ModelRef("m", 7), Code.NOT_FOUND, "Servable not found for request: Specific(m, 7)"),
        (
            ModelRef("m", label="lost"),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(m, 9)",
        ),
        (
            ModelRef("m", label="beta"),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: beta",
        ),
        (ModelRef(""), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    ],
)
def test_no_servable(manager: Manager, ref: ModelRef, code: Code, message: str) -> None:
    with pytest.raises(StatusError) as caught, manager.servable(ref):
        pass
    assert (caught.value.code, caught.value.message) == (code, message)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        (ModelRef("x"), "Could not find any versions of model x"),
        (ModelRef("m", 7), "Could not find version 7 of model m"),
    ],
)
def test_no_status(manager: Manager, ref: ModelRef, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        manager.statuses(ref)
    assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, message)


def test_a_label_to_nowhere_is_warned_of(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    manager._check_labels()
    assert "label 'lost' points to version 9, which is not loaded" in caplog.text


def test_polling_finds_new_versions(manager: Manager, tmp_path: Path) -> None:
    add_version(tmp_path / "m", 3)

    def newest() -> int:
        with manager.servable(ModelRef("m")) as servable:
            return servable.id.version

    until(lambda: newest() == 3, what="version 3 is served")


def test_start_reports_every_model_that_cannot_be_served(tmp_path: Path) -> None:
    add_version(tmp_path / "good", 1)
    loader = FakeLoader()
    configs = [ModelConfig(name, tmp_path / name) for name in ("good", "bad", "worse")]
    with pytest.raises(StartError) as caught:
        Manager(configs, loader).start()
    lines = str(caught.value).splitlines()
    assert [line.split()[1] for line in lines] == ["'bad'", "'worse'"]
    assert loader.engines[1].closed
