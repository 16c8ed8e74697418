"""The command line."""

from pathlib import Path

import pytest

from serving.model_server.flags.parser import parse_flags
from serving.model_server.models.config import ConfigError
from serving.model_server.options import ANY_PORT

MODEL = "--model_base_path=/models/m"


def test_defaults_are_those_of_tensorflow_serving() -> None:
    options = parse_flags([MODEL]).options
    assert (options.host, options.grpc.port, options.rest.port) == ("0.0.0.0", 8500, None)
    assert [(m.name, m.base_path) for m in options.models] == [("default", Path("/models/m"))]
    assert options.load.poll_seconds == 1


def test_the_command_line_of_the_container() -> None:
    options = parse_flags(
        [
            "--port=8500",
            "--rest_api_port=8501",
            "--model_name=cnn",
            "--model_base_path=/models/cnn",
            "--prefer_tflite_model",
            "--grpc_max_threads",
            "3",
            "--tensorflow_intra_op_parallelism=2",
        ]
    ).options
    assert (options.grpc.port, options.rest.port) == (8500, 8501)
    assert (options.grpc.threads, options.engine.intra_op_threads) == (3, 2)


def test_the_check_of_method_names() -> None:
    assert not parse_flags([MODEL]).options.inference.check_methods
    flag = "--enable_signature_method_name_check"
    assert parse_flags([MODEL, flag]).options.inference.check_methods


def test_ports_off_and_automatic() -> None:
    options = parse_flags([MODEL, "--port=0", "--rest_api_port=auto"]).options
    assert (options.grpc.port, options.rest.port) == (None, ANY_PORT)


@pytest.mark.parametrize("text", ["true", "false", "True", "1", "0"])
def test_booleans(text: str) -> None:
    parse_flags([MODEL, f"--prefer_tflite_model={text}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model_base_path or --model_config_file is needed"),
        ([MODEL, "--port=eight"], "argument --port: expected 0 to 65535 or auto, got 'eight'"),
        ([MODEL, "--port=65536"], "argument --port: expected 0 to 65535 or auto, got '65536'"),
        ([MODEL, "--port=0"], "--port and --rest_api_port are both 0 (off): nothing to listen on"),
        ([MODEL, "--grpc_max_threads=0"], "argument --grpc_max_threads: expected at least 1"),
        ([MODEL, "--model_name=a/b"], "--model_name must be a name without '/' and ':'"),
        (
            [MODEL, "--file_system_poll_wait_seconds=-1"],
            "argument --file_system_poll_wait_seconds: expected seconds, got '-1'",
        ),
        (
            [MODEL, "--prefer_tflite_model=perhaps"],
            "argument --prefer_tflite_model: expected true or false, got 'perhaps'",
        ),
        ([MODEL, "--no_such_flag"], "unrecognized arguments: --no_such_flag"),
    ],
)
def test_wrong_flags(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"model_server: {message}")
    assert len(error.splitlines()) == 2


def test_the_config_file_wins(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text('model_config_list { config { name: "a" base_path: "/a" } }')
    options = parse_flags([MODEL, f"--model_config_file={file}"]).options
    assert [model.name for model in options.models] == ["a"]


def test_other_file_systems_are_refused() -> None:
    with pytest.raises(ConfigError, match="only local folders can be served, not gs://"):
        parse_flags(["--model_base_path=gs://bucket/m"])
