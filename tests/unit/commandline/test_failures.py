"""Failures of commands: one or two lines on standard error with a fix, and an exit code."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rockstar_cli.__main__ import COMMANDS
from rockstar_cli.output import failure_of
from tests.command_line import invoke


@pytest.fixture
def taken():
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def mistake(taken, models, tmp_path, monkeypatch):
    """Command lines with the placeholders filled in."""
    for name in ("broken.toml", "broken.json"):
        (tmp_path / name).write_text("{[")
    (tmp_path / "image.png").write_bytes(b"no image")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    return lambda line: line.format(taken=taken, models=models).split()


AWAY = "--url http://127.0.0.1:1 --model cnn image.png"


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("trian", 2, "did you mean train?"),
        ("xyzzy", 2, "there are train, "),
        ("train --epoch 3 cnn", 2, "--epochs"),
        ("train", 2, "say which model: linear, logistic, mlp, cnn; or give --config FILE"),
        ("train rnn", 2, "'linear', 'logistic', 'mlp', 'cnn'"),
        ("train cnn --epochs 0", 2, "epochs: expected 1 to 100000, got 0"),
        ("train --config broken.json", 2, "broken.json"),
        ("train --config nowhere.json", 2, "nowhere.json: cannot be read"),
        ("train mlp --hidden a", 2, "'a' is not a list of sizes such as 512,256"),
        ("train mlp --type zip=text", 2, "not COLUMN=TYPE with a type of number, category, date"),
        ("train cnn --hidden 8", 2, "hidden: expected none with model cnn"),
        ("train linear", 2, "expected logistic or mlp or cnn where labels are to be predicted"),
        ("train cnn --data folder:absent", 1, "absent"),
        ("tune mlp --address 127.0.0.1:1", 1, "no Ray cluster responds at 127.0.0.1:1: Connection"),
        ("tune mlp --address ray://a:b", 1, "expected HOST:PORT, got ray://a:b"),
        ("serve --models absent", 1, "train one: rockstar train cnn"),
        ("serve --models {models} --port {taken}", 1, "choose another with --port"),
        ("serve --models {models} --port 0 --grpc-port {taken}", 1, "choose another with --grpc-"),
        ("serve --models {models} --port 0 --rest-port {taken}", 1, "choose another with --rest-"),
        ("serve --models {models} --port 99999", 2, "0<=x<=65535"),
        ("serve --models {models} --port 0 --grpc-port 0 --rest-port 0 --model x", 1, "holds cnn"),
        ("serve --tfserving nowhere --model cnn --port 0", 1, "expected HOST:PORT"),
        ("serve --tfserving dns:///name --model cnn --port 0", 1, "or dns:///NAME:PORT, got"),
        ("gateway", 2, "give --model NAME"),
        ("gateway --model cnn --threads many", 2, "expected a whole number from 1, got 'many'"),
        ("gateway --model cnn --routes broken.toml", 2, "broken.toml is not TOML"),
        ("gateway --model cnn --bind 127.0.0.1:{taken}", 1, "choose another with --bind"),
        ("gateway --make-key a/b", 2, "expected letters, digits, - and _"),
        ("model-server --prot=8500", 2, "did you mean --port?"),
        ("model-server -model_base_path=m", 2, "-model_base_path: did you mean --model"),
        ("model-server --port=many --model_base_path=models", 2, "expected 0 to 65535 or auto"),
        (f"predict {AWAY}", 3, "start a server with `rockstar serve`"),
        ("predict --model cnn absent.png", 1, "absent.png"),
        ("predict --grpc 127.0.0.1:1 --model= image.png", 2, "'--model': expected a name"),
        (f"explain {AWAY}", 3, "start a server with `rockstar serve`"),
        ("explain --model cnn absent.png", 1, "absent.png"),
        ("explain image.png", 2, "--model"),
        ("explain --model cnn a/1.png b/1.png -o heat", 2, "explain them one at a time"),
        (f"bench {AWAY}", 3, "start a server with `rockstar serve`"),
        ("bench --model cnn absent.png", 1, "absent.png"),
        (f"bench {AWAY} --duration 0", 2, "is not in the range"),
        (f"bench {AWAY} --duration nan", 2, "'nan' is not a number"),
        ("explain --model cnn .", 1, "name a file"),
        (f"bench {AWAY} --duration 3600 --rate 1000000", 2, "at most 10,000,000 requests"),
        ("check --url 127.0.0.1:8080", 1, "try http://127.0.0.1:8080"),
        ("check --url http://127.0.0.1:port", 1, "expected http://HOST:PORT"),
        ("check --url http://ann:s3cret@x", 1, "expected one without user and password"),
        ("check --url http://127.0.0.1:1 --api-key k\xfcy", 1, "api_key: expected printable"),
        ("check --upstream 127.0.0.1:1", 2, "needs a routes FILE"),
        ("models --models absent", 1, "name a folder of models (--models)"),
        ("models rnn --models {models}", 1, "it holds cnn"),
        ("promote cnn 9 --models {models}", 1, "it has the versions 1, 2, 3"),
        ("promote cnn x --models {models}", 2, "'x' is not a valid version"),
        ("rollback cnn --label a --models {models}", 1, "its labels are: none"),
        ("prune cnn --models {models}", 2, "--keep"),
        ("prune cnn --keep 0 --models {models}", 2, "0 is not in the range x>=1"),
        ("verify cnn/9 --models {models}", 1, "cnn has no version 9"),
        ("verify cnn/x --models {models}", 2, "such as cnn/3"),
        ("runs --workdir absent", 1, "--workdir names another place"),
        ("learning-rates --epochs 1", 2, "4<=x<=1000"),
        ("completion tcsh", 2, "'bash', 'zsh', 'fish'"),
    ],
)
def test_an_error_is_at_most_two_lines_with_a_fix(mistake, line, code, message):
    result = invoke(*mistake(line))
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) <= 2
    assert result.stdout == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_error_names_the_help(name):
    result = invoke(name, "--no-such-option")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) <= 2
    assert f"{name}: --help" in result.stderr or f"rockstar {name} --help" in result.stderr
    assert result.stdout == ""


@pytest.fixture
def broken(monkeypatch):
    """`rockstar models` has a bug."""

    def fail(*_):
        raise KeyError("versions")

    monkeypatch.setattr("rockstar_serving.registry.list_versions", fail)


def test_a_bug_is_one_line_and_a_hint(broken, models):
    result = invoke("models", "--models", models)
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first == "Error: unexpected KeyError: 'versions'"
    assert "ROCKSTAR_DEBUG=1" in second


@pytest.mark.parametrize("way", ["option", "variable"])
def test_debugging_prints_a_traceback(broken, models, monkeypatch, way):
    monkeypatch.setenv("ROCKSTAR_DEBUG", "1" if way == "variable" else "")
    result = invoke(*(["--debug"] if way == "option" else []), "models", "--models", models)
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-2] == "Error: unexpected KeyError: 'versions'"


def test_the_debug_variable_is_no_setting_of_the_gateway(monkeypatch):
    monkeypatch.setenv("ROCKSTAR_DEBUG", "1")
    assert invoke("gateway", "--print-config").exit_code == 0


def test_a_missing_package_names_the_extra():
    error = ModuleNotFoundError("no", name="tensorflow.python")
    assert "rockstartf[train]" in failure_of(error).message


def test_a_search_without_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = invoke("tune", "logistic")
    assert result.exit_code == 1
    assert "this needs ray: pip install 'rockstartf[ray]'" in result.stderr


def test_a_message_of_many_lines_becomes_one(monkeypatch, models):
    def fail(*_):
        raise click.ClickException("one\n  two\nthree" + "x" * 5000)

    monkeypatch.setattr("rockstar_serving.registry.list_versions", fail)
    (line,) = invoke("models", "--models", models).stderr.splitlines()
    assert line.startswith("Error: one two three")
    assert len(line) < 1100


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("learning-rates", "--out", tmp_path / "file" / "x.png", "--epochs", 4)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "name another place" in result.stderr


def test_ctrl_c_ends_with_130(models, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("rockstar_serving.registry.list_versions", interrupt)
    result = invoke("models", "--models", models)
    assert result.exit_code == 130
    assert result.stderr.split() == ["Interrupted."]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_reported(unbuffered):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rockstar_cli", "completion", "bash"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: the disk is full where the output or a temporary file (TMPDIR) goes: make room\n"
    )
