"""Shell completion."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from rockstar_cli.__main__ import COMMANDS, cli
from rockstar_serving.registry import promote
from tests.command_line import ROOT, invoke, invoke_json


@pytest.fixture
def complete(models, monkeypatch):
    """The completions of the last word of a line."""
    monkeypatch.chdir(models.parent)

    def ask(line: str) -> list[str]:
        words = line.split(" ")
        variables = {
            "_ROCKSTAR_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        result = CliRunner(env=variables).invoke(cli, prog_name="rockstar")
        assert result.exit_code == 0, result.output
        return [line.partition(",")[2] for line in result.stdout.splitlines() if line]

    return ask


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("rockstar mod", ["model-server", "models"]),
        ("rockstar ro", ["rollback"]),
        ("rockstar completion ", ["bash", "zsh", "fish"]),
        ("rockstar models ", ["cnn"]),
        ("rockstar promote cnn ", ["3", "2", "1"]),
        ("rockstar promote cnn 2 --label ", ["stable", "canary", "old"]),
        ("rockstar rollback --label x", []),
        ("rockstar rollback cnn --label o", ["old"]),
        ("rockstar prune c", ["cnn"]),
        ("rockstar verify cnn/", ["cnn/3", "cnn/2", "cnn/1"]),
        ("rockstar serve --model ", ["cnn"]),
        ("rockstar serve --models elsewhere --model ", []),
        ("rockstar bench --model c", ["cnn"]),
        ("rockstar explain --model c", ["cnn"]),
        ("rockstar train lin", ["linear"]),
        ("rockstar model-server --model_config_file_p", ["--model_config_file_poll_wait_seconds"]),
        ("rockstar gateway --max-pix", ["--max-pixels"]),
    ],
)
def test_completions(complete, models, line, completions):
    promote(models, "cnn", 1, "old")
    assert complete(line) == completions


def test_all_commands_are_completed(complete):
    assert complete("rockstar ") == list(COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_valid_in_its_shell(shell):
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert f"_ROCKSTAR_COMPLETE={shell}_complete" in result.stdout
    assert invoke_json("completion", shell) == {"shell": shell, "script": result.stdout}
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=result.stdout, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_script(models, tmp_path):
    program = tmp_path / "rockstar"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rockstar_cli "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(rockstar completion bash)"\n'
        "COMP_WORDS=(rockstar promote cnn '') COMP_CWORD=3\n"
        "_rockstar_completion rockstar\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("3 2 1\n", "")
