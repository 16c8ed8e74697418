"""Features of every command: help, examples, --json, and fast help."""

import re
import shlex
import subprocess
import sys

import click
import pytest

from rockstar_cli.__main__ import COMMANDS, cli
from rockstar_cli.output import Exit
from tests.command_line import ROOT, invoke

# Slow to import.
HEAVY = {
    *("PIL", "ai_edge_litert", "aiohttp", "asyncio", "flask", "google.protobuf", "grpc"),
    *("gunicorn", "keras", "matplotlib", "numpy", "prometheus_client", "requests", "sklearn"),
    *("tensorflow", "tqdm", "urllib3", "werkzeug"),
}
# `model-server --help` lists flags that are parsed into arrays and protobuf messages.
FOR_FLAGS = {"numpy", "google.protobuf"}


def examples(epilog: str) -> list[str]:
    """The arguments of the examples in a help's epilog, without redirections and pipes."""
    lines = re.sub(r"^(\x08\n)?Examples?:", "", epilog).splitlines()
    commands = [line.strip() for line in lines if line.strip().startswith("rockstar ")]
    return [re.split(r" [>|] ", line)[0].removeprefix("rockstar ") for line in commands]


def parse(line: str) -> click.Context:
    """Parse a command line without running it."""
    arguments = shlex.split(line)
    top = cli.make_context("rockstar", list(arguments))
    name, command, rest = cli.resolve_command(top, arguments)
    assert command is not None
    return command.make_context(name, rest, parent=top)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_and_json(name):
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert f"rockstar {name}" in re.split(r"Examples?:", result.stdout)[1]
    assert "--json" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_valid(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    lines = examples(command.epilog or "")
    assert lines
    for line in lines:
        assert parse(line).info_name == name


def test_the_flags_in_the_model_servers_example_exist():
    from rockstar_serving.model_server.flags import PROGRAM, FlagParser

    command = cli.get_command(click.Context(cli), "model-server")
    assert command is not None
    (line,) = examples(command.epilog or "")
    _, unknown = FlagParser(PROGRAM).parse_known_args(shlex.split(line)[1:])
    assert unknown == []


def test_the_group_lists_every_command_and_the_exit_codes():
    result = invoke("--help")
    for name, lazy in COMMANDS.items():
        assert re.search(rf"^  {name} +{lazy.summary.split()[0]}", result.stdout, re.MULTILINE)
    assert "3 service unreachable" in " ".join(result.stdout.split())


def imported(*arguments: str) -> set[str]:
    """The heavy modules that a call of the command imports."""
    code = (
        "import sys, rockstar_cli.__main__ as rockstar\n"
        f"sys.argv = ['rockstar', *{arguments!r}]\n"
        "try: rockstar.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_the_group_imports_nothing_heavy(arguments):
    assert imported(*arguments) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name):
    assert imported(name, "--help") <= (FOR_FLAGS if name == "model-server" else set())


def test_the_docs_list_every_command_and_exit_code():
    text = (ROOT / "docs" / "command-line.md").read_text()
    shapes = text.partition("## JSON")[2].partition("## ")[0]
    for name in COMMANDS:
        assert re.search(rf"^\|.*`{name}.*\|", shapes, re.MULTILINE), name
    codes = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert [int(code) for code in codes] == list(Exit)
