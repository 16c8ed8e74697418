from pathlib import Path

import pytest

from rockstar_training.config import DataSpec, parse_data
from rockstar_training.errors import ConfigError


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist"])
def test_known_names(name):
    assert parse_data(name) == DataSpec("images", name)


def test_folders_and_files_are_named_without_the_folders_above():
    assert parse_data("folder:/data/my pets") == DataSpec(
        "folder", "folder:my pets", Path("/data/my pets")
    )
    assert parse_data("csv:a/b:c.csv") == DataSpec("csv", "csv:b:c.csv", Path("a/b:c.csv"))
    assert parse_data("folder:~").location == Path.home()


@pytest.mark.parametrize("text", ["", "cifar", "folder:", "csv: ", "zip:x", "Digits", ":x"])
def test_others_are_refused_with_what_there_is(text):
    with pytest.raises(ConfigError, match=r"data: expected digits, .*csv:FILE, got "):
        parse_data(text)
