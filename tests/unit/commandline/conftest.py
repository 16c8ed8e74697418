from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.registries import add_version

CREATED = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with versions 1 to 3 of a model `cnn`, with invalid LiteRT files."""
    folder = tmp_path / "models"
    for version in (1, 2, 3):
        metrics = {"test_accuracy": 0.9 + version / 100, "train_accuracy": 1.0}
        add_version(folder, "cnn", version, metrics=metrics, created=CREATED)
    return folder
