"""Fixtures shared by several test folders, and pytest options."""

import logging
import os
import pickle
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tests.rest_models import write_models
from tests.saved_models import SavedModels

if TYPE_CHECKING:
    from rockstar_training.train import TrainingResult


def pytest_configure() -> None:
    """Set what all tests need."""
    # A busy machine is slow, which is no failure. Half of the default number of examples, for time.
    slow = [HealthCheck.too_slow]
    settings.register_profile(
        "any speed", deadline=None, suppress_health_check=slow, max_examples=50
    )
    settings.load_profile("any speed")
    # Ctrl-C works even if a shell started the tests in the background, as in child processes.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class TrainedModels:
    """The default models, trained once for all tests: a work folder, and results by name."""

    workdir: Path
    results: "Mapping[str, TrainingResult]"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for tests that build container images (`make images-test`)."""
    parser.addoption(
        "--images",
        choices=["some", "all"],
        default="some",
        help="all: include the one with TensorFlow, and fail if an image cannot be built",
    )
    parser.addoption("--python-image", help="base image, instead of one from Debian's packages")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files, so that no process waits for another at the end.

    The first one trains `trained_models`; those that follow do without, so that none waits for them.
    """
    items.sort(
        key=lambda item: (
            not item.path.as_posix().endswith("containers/test_images.py"),
            item.path.parent.name != "training",
        )
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show measurements, the property `measured` of tests."""
    reports = terminalreporter.getreports("passed")
    for line in [
        text for each in reports for name, text in each.user_properties if name == "measured"
    ]:
        terminalreporter.write_line(f"measured: {line}")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all pytest processes of this run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def trained_models(run_folder: Path) -> TrainedModels:
    """Logistic, mlp and cnn as the command trains them, but in half the epochs; once per run."""
    # Only tests that use this import TensorFlow.
    from rockstar_training.config import CLASSIFIERS, config_for
    from rockstar_training.train import train_and_evaluate

    workdir, results = run_folder / "trained", run_folder / "trained.pickle"
    with FileLock(run_folder / "trained.lock"):
        if not results.exists():
            made = {
                name: train_and_evaluate(config_for(name, epochs=25), workdir)
                for name in CLASSIFIERS
            }
            results.write_bytes(pickle.dumps(made))
    return TrainedModels(workdir, pickle.loads(results.read_bytes()))


@pytest.fixture(scope="session")
def saved_models(run_folder: Path) -> SavedModels:
    """SavedModels and LiteRT files of many kinds, each made when it is first used."""
    return SavedModels(run_folder / "saved-models")


@pytest.fixture(scope="session")
def golden_models(run_folder: Path) -> Path:
    """A configuration file that serves the models of the golden REST requests."""
    with FileLock(run_folder / "golden.lock"):
        return write_models(run_folder / "golden")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore the root logger, which programs under test configure."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    for handler in [each for each in root.handlers if each not in handlers]:
        if not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)
