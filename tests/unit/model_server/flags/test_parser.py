"""The command line."""

from pathlib import Path

import pytest

from rockstar_serving.model_server.flags.logging import log_format
from rockstar_serving.model_server.flags.parser import parse_flags
from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.options import ANY_PORT, WarmupOptions
from tests.environments import pinned
from tfs_api.services import TENSORFLOW_SERVING_VERSION

MODEL = "--model_base_path=/models/m"


def test_defaults_are_those_of_tensorflow_serving() -> None:
    options = parse_flags([MODEL]).options
    assert (options.host, options.grpc.port, options.rest.port) == ("0.0.0.0", 8500, None)
    assert [(m.name, m.base_path) for m in options.models] == [("default", Path("/models/m"))]
    assert options.load.poll_seconds == 1
    assert options.warmup == WarmupOptions(enabled=True, iterations=1)
    assert options.monitoring.path is None


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
        (
            [MODEL, "--port=0"],
            "--port and --rest_api_port are both 0 (off), and there is no --grpc",
        ),
        ([MODEL, "--port=7", "--rest_api_port=7"], "--port and --rest_api_port are both 7: they"),
        ([MODEL, "--use_alts_credentials"], "--use_alts_credentials: there is no ALTS here; use"),
        (
            [MODEL, "--grpc_channel_arguments=grpc.x=1,grpc.y"],
            "argument --grpc_channel_arguments: expected name=value,name=value, got 'grpc.y'",
        ),
        ([MODEL, "--log_format=xml"], "argument --log_format: invalid choice: 'xml'"),
        ([MODEL, "--grpc_max_threads=0"], "argument --grpc_max_threads: expected at least 1"),
        (
            ["--model_config_file=s3://bucket/models.config"],
            "argument --model_config_file: expected a path on this machine, got 's3://bucket/",
        ),
        ([MODEL, "--model_name="], "--model_name: expected a name, got ''"),
        (
            [MODEL, "--file_system_poll_wait_seconds=nan"],
            "argument --file_system_poll_wait_seconds: expected seconds, got 'nan'",
        ),
        (
            [MODEL, "--prefer_tflite_model=perhaps"],
            "argument --prefer_tflite_model: expected true or false, got 'perhaps'",
        ),
        ([MODEL, "--no_such_flag"], "unknown flag --no_such_flag\n"),
        (
            ["--modle_base_path=m"],
            "unknown flag --modle_base_path: did you mean --model_base_path?",
        ),
        ([MODEL, "--model-name=m"], "unknown flag --model-name: did you mean --model_name?"),
        ([MODEL, "-port=1"], "unknown flag -port: did you mean --port?"),
        ([MODEL, "serve"], "expected a flag, got 'serve'"),
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
    file.write_text(
        'model_config_list { config { name: "a" base_path: "/a" model_type: TENSORFLOW } }'
    )
    for path in (str(file), file.as_uri()):
        options = parse_flags([MODEL, f"--model_config_file={path}"]).options
        assert [model.name for model in options.models] == ["a"]


def test_other_file_systems_are_refused() -> None:
    with pytest.raises(ConfigError, match="base path hdfs://host/m: expected a folder or a URL"):
        parse_flags(["--model_base_path=hdfs://host/m"])


def test_an_unknown_flag_is_named_without_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_flags([MODEL, "--token=secret"])
    assert "secret" not in capsys.readouterr().err


def test_an_empty_path_is_none() -> None:
    options = parse_flags([MODEL, "--model_config_file=", "--grpc_socket_path="]).options
    assert [model.name for model in options.models] == ["default"]
    assert options.grpc.socket_path is None


def test_grpc() -> None:
    grpc = parse_flags(
        [
            MODEL,
            "--port=0",
            "--grpc_socket_path=/run/m.sock",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000, grpc.name=a=b,grpc.big=2147483648",
            "--enable_grpc_healthcheck_service",
            "--enable_grpc_reflection=true",
        ]
    ).options.grpc
    assert (grpc.port, grpc.socket_path) == (None, Path("/run/m.sock"))
    assert grpc.channel_arguments == {
        "grpc.max_connection_age_ms": 2000,
        "grpc.name": "a=b",
        "grpc.big": "2147483648",
    }
    assert grpc.health
    assert grpc.reflection


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_host(host: str) -> None:
    assert parse_flags([MODEL, f"--host={host}"]).options.host == "::1"


def test_the_last_one_counts() -> None:
    assert parse_flags([MODEL, "--port=1", "--port=2"]).options.grpc.port == 2


def test_flags_without_effect_get_one_line(caplog: pytest.LogCaptureFixture) -> None:
    parse_flags([MODEL, "--enable_profiler", "--mixed_precision=bfloat16"])
    (record,) = caplog.records
    assert "--enable_profiler (there is no profiler service)" in record.message
    assert "--mixed_precision (" in record.message


def test_without_them_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    parse_flags([MODEL])
    assert not caplog.records


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags(["--version"])
    assert not caught.value.code
    ours, api = capsys.readouterr().out.splitlines()
    assert ours.startswith("RockstarTF model server: ")
    assert api == "API of TensorFlow Serving: 2.20"


def test_the_api_is_of_the_version_that_is_tested_against() -> None:
    for name in ("tensorflow", "tensorflow-serving-api"):
        assert pinned(name).startswith(f"{TENSORFLOW_SERVING_VERSION}.")


def test_help_has_groups_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_flags(["--help"])
    assert not caught.value.code
    out = capsys.readouterr().out
    for group in ("gRPC:", "REST:", "models:", "runtime:", "taken without effect:"):
        assert f"\n{group}\n" in out
    assert "(8500)" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "text"),
        (["--log_format=json", "--no_such_flag"], "json"),
        (["--log_format=xml"], "text"),
    ],
)
def test_how_log_lines_look_is_known_first(arguments: list[str], expected: str) -> None:
    assert log_format(arguments) == expected


def test_warmup() -> None:
    flags = ["--enable_model_warmup=false", "--num_request_iterations_for_warmup=4"]
    assert parse_flags([MODEL, *flags]).options.warmup == WarmupOptions(enabled=False, iterations=4)
    flags = ["--enable_model_warmup", "--num_request_iterations_for_warmup=0"]
    assert parse_flags([MODEL, *flags]).options.warmup == WarmupOptions()


def test_monitoring(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text("prometheus_config { enable: true }")
    flag = f"--monitoring_config_file={file}"
    options = parse_flags([MODEL, flag, "--rest_api_port=auto"]).options
    assert options.monitoring.path == "/monitoring/prometheus/metrics"
    assert not caplog.messages
    file.unlink()
    assert parse_flags([MODEL, flag]).options.monitoring.path is None
    assert caplog.messages == ["--monitoring_config_file is without effect: no --rest_api_port"]
    assert parse_flags([MODEL, "--monitoring_config_file="]).options.monitoring.path is None
