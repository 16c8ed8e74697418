"""`rockstar model-server`: the same server, with the flags passed through."""

import json
import signal

import pytest

from tests.command_line import start
from tests.integration.model_server.conftest import ask


def test_it_prints_its_addresses_as_json_serves_and_stops(base_path, tmp_path):
    with (tmp_path / "log").open("w") as log:
        process = start(
            *("model-server", "--json", "--port=auto", "--rest_api_port=auto", "--host=127.0.0.1"),
            *("--model_name=toy", f"--model_base_path={base_path}", "--prefer_tflite_model"),
            stderr=log,
        )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["grpc"].startswith("127.0.0.1:")
        status, found = ask(told["rest"], "/v1/models/toy")
        assert status == 200
        assert found["model_version_status"][0]["state"] == "AVAILABLE"
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said == ""


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["--prot=1"], 2, "rockstar model-server: unknown flag --prot: did you mean --port?"),
        (["--model_base_path=/absent", "--wait_for_models=false"], 1, "cannot start"),
        ([], 2, "--model_base_path or --model_config_file is needed"),
    ],
)
def test_errors_are_those_of_the_server(flags, code, says):
    said, errors = (process := start("model-server", *flags)).communicate(timeout=60)
    assert process.returncode == code
    assert said == ""
    assert says in errors
    assert "Traceback" not in errors


def test_help_has_the_flags_and_an_example():
    said, errors = (process := start("model-server", "--help")).communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    for text in ("--rest_api_port", "--model_config_file", "--json", "Example: rockstar model-"):
        assert text in said
