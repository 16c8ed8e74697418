"""`rockstar notebook`, without JupyterLab."""

import importlib.util
import json
import subprocess
import sys
import types

import pytest

from tests.command_line import invoke

FIRST = "1-tensors-and-graphs.ipynb"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_copies_the_notebooks(tmp_path):
    result = invoke("notebook", "--no-open", "--json")
    assert result.exit_code == 0, result.stderr
    copied = json.loads(result.stdout)["copied"]
    assert len(copied) == 7
    assert sorted(path.name for path in (tmp_path / "notebooks").iterdir()) == copied


def test_keeps_changed_notebooks_and_restores_deleted_ones(tmp_path):
    invoke("notebook", "lecture", "--no-open")
    (tmp_path / "lecture" / FIRST).write_text("mine")
    (tmp_path / "lecture" / "2-linear-model.ipynb").unlink()
    result = invoke("notebook", "lecture", "--no-open")
    assert result.stdout == "lecture: copied 1 notebooks, kept 6\n"
    assert (tmp_path / "lecture" / FIRST).read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "lecture").write_text("")
    result = invoke("notebook", "lecture", "--no-open")
    assert result.exit_code == 2
    assert "'lecture' is a file" in result.stderr
    result = invoke("notebook", "lecture/deeper", "--no-open")
    assert result.exit_code == 1
    assert "lecture/deeper: Not a directory" in result.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("jupyterlab") is not None, reason="JupyterLab is installed"
)
def test_a_missing_extra_is_reported_before_anything_is_written(tmp_path):
    result = invoke("notebook")
    assert result.exit_code == 1
    assert "this needs jupyterlab: pip install 'rockstartf[notebook]'" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_jupyterlab_listens_on_loopback_and_keeps_its_token(monkeypatch):
    commands = []

    def run(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setitem(sys.modules, "jupyterlab", types.ModuleType("jupyterlab"))
    monkeypatch.setattr(subprocess, "run", run)
    assert invoke("notebook", "--no-browser").exit_code == 0
    (command,) = commands
    assert "--ip=127.0.0.1" in command
    assert command[-1] == "notebooks"
    assert not [part for part in command if "token" in part or "password" in part]
