"""The command line: options of flags, and invalid flags."""

from pathlib import Path

import pytest

from rockstar_serving.model_server.batching_parameters import QueueParameters
from rockstar_serving.model_server.flags import PROGRAM, FlagParser, server_options
from rockstar_serving.model_server.options import (
    EngineOptions,
    GrpcOptions,
    LoadOptions,
    RestOptions,
    ServerOptions,
    WarmupOptions,
)
from rockstar_serving.options import options_of
from tests.environments import pinned
from tfs_api.services import TENSORFLOW_SERVING_VERSION

MODEL = "--model_base_path=/models/m"
THREADS = "--tensorflow_session_parallelism"
INTRA, INTER = "--tensorflow_intra_op_parallelism", "--tensorflow_inter_op_parallelism"


def parse_flags(arguments: list[str]) -> ServerOptions:
    return server_options(FlagParser(PROGRAM).parse(arguments))


def rejected(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line with invalid flags prints."""
    with pytest.raises(SystemExit) as caught:
        parse_flags(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_defaults_are_those_of_tensorflow_serving() -> None:
    options = parse_flags([MODEL])
    assert (options.host, options.grpc.port, options.rest.port) == ("0.0.0.0", 8500, None)
    assert [(m.name, m.base_path) for m in options.models] == [("default", Path("/models/m"))]
    assert options.load == LoadOptions()
    assert (options.load.load_threads, options.load.unload_threads) == (0, 0)
    assert (options.load.max_load_retries, options.load.retry_seconds) == (5, 60)
    assert (options.load.poll_seconds, options.load.config_poll_seconds) == (1, 0)
    assert not options.load.allow_labels_for_unavailable
    assert options.engine == EngineOptions()
    assert not options.engine.prefer_tflite
    assert options.engine.saved_model_tags == {"serve"}
    assert not options.inference.check_methods
    assert (options.batching.enabled, options.batching.per_model) == (False, False)
    assert options.warmup == WarmupOptions(enabled=True, iterations=1)
    assert options.monitoring.path is None


def test_the_command_line_of_the_container() -> None:
    flags = """
        --port=8500 --rest_api_port=8501 --model_name=cnn --model_base_path=/models/cnn
        --prefer_tflite_model --grpc_max_threads 3 --tensorflow_intra_op_parallelism=2
    """
    options = parse_flags(flags.split())
    assert (options.grpc.port, options.rest.port) == (8500, 8501)
    assert (options.grpc.threads, options.engine.intra_op_threads) == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model_base_path or --model_config_file is needed"),
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
        ([MODEL, "--model_name="], "--model_name: expected a name, got ''"),
        ([MODEL, "--no_such_flag"], "unknown flag --no_such_flag\n"),
        (
            ["--modle_base_path=m"],
            "unknown flag --modle_base_path: did you mean --model_base_path?",
        ),
        ([MODEL, "--model-name=m"], "unknown flag --model-name: did you mean --model_name?"),
        ([MODEL, "-port=1"], "unknown flag -port: did you mean --port?"),
        ([MODEL, "serve"], "expected a flag, got 'serve'"),
        (
            [MODEL, f"{THREADS}=1", f"{INTRA}=1", f"{INTER}=1"],
            f"{THREADS} cannot be given together with",
        ),
    ],
)
def test_wrong_flags(arguments, message, capsys):
    error = rejected(arguments, capsys)
    assert error.startswith(f"model_server: {message}")
    assert len(error.splitlines()) == 2


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--load_retry_interval_micros", "1.5", "expected whole microseconds"),
        ("--num_load_threads", "-1", "expected a whole number from 0"),
        ("--max_num_load_retries", "many", "expected a whole number from 0"),
        ("--per_process_gpu_memory_fraction", "2", "expected 0 to 1"),
        ("--saved_model_tags", ",", "expected names with commas between them"),
        ("--port", "eight", "expected 0 to 65535 or auto"),
        ("--port", "65536", "expected 0 to 65535 or auto"),
        ("--log_format", "xml", "expected text or json"),
        ("--grpc_max_threads", "0", "expected at least 1"),
        ("--file_system_poll_wait_seconds", "nan", "expected seconds"),
        ("--prefer_tflite_model", "perhaps", "expected true or false"),
        (
            "--model_config_file",
            "http://host/models.config",
            "expected a path, or a URL of an object store",
        ),
    ],
)
def test_wrong_values(flag, value, message, capsys):
    error = rejected([MODEL, f"{flag}={value}"], capsys)
    assert f"model_server: argument {flag}: {message}, got {value!r}" in error


def test_the_config_file_wins(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(
        'model_config_list { config { name: "a" base_path: "/a" model_type: TENSORFLOW } }'
    )
    for path in (str(file), file.as_uri()):
        options = parse_flags([MODEL, f"--model_config_file={path}"])
        assert [model.name for model in options.models] == ["a"]


def test_an_unknown_flag_is_named_without_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert "secret" not in rejected([MODEL, "--token=secret"], capsys)


def test_an_empty_path_is_none() -> None:
    options = parse_flags([MODEL, "--model_config_file=", "--grpc_socket_path="])
    assert [model.name for model in options.models] == ["default"]
    assert options.grpc.socket_path is None


def test_grpc_flags() -> None:
    grpc = parse_flags(
        [
            MODEL,
            "--port=0",
            "--grpc_socket_path=/run/m.sock",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000, grpc.name=a=b,grpc.big=2147483648",
            "--enable_grpc_healthcheck_service",
            "--enable_grpc_reflection=true",
        ]
    ).grpc
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
    assert parse_flags([MODEL, f"--host={host}"]).host == "::1"


def test_flags_without_effect_get_one_line(caplog: pytest.LogCaptureFixture) -> None:
    parse_flags([MODEL])
    assert not caplog.records
    parse_flags([MODEL, "--enable_profiler", "--mixed_precision=bfloat16"])
    (record,) = caplog.records
    assert "--enable_profiler (there is no profiler service)" in record.message
    assert "--mixed_precision (" in record.message


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
    for group in ("gRPC:", "REST:", "models:", "runtime:", "accepted without effect:"):
        assert f"\n{group}\n" in out
    assert "(8500)" in out
    for kind in (ServerOptions, GrpcOptions, RestOptions, LoadOptions, EngineOptions):
        assert all(option.help for option in options_of(kind)), kind


def test_warmup() -> None:
    flags = ["--enable_model_warmup=false", "--num_request_iterations_for_warmup=4"]
    assert parse_flags([MODEL, *flags]).warmup == WarmupOptions(enabled=False, iterations=4)
    flags = ["--enable_model_warmup", "--num_request_iterations_for_warmup=0"]
    assert parse_flags([MODEL, *flags]).warmup == WarmupOptions()


def test_monitoring(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text("prometheus_config { enable: true }")
    flag = f"--monitoring_config_file={file}"
    options = parse_flags([MODEL, flag, "--rest_api_port=auto"])
    assert options.monitoring.path == "/monitoring/prometheus/metrics"
    assert not caplog.messages
    file.unlink()
    assert parse_flags([MODEL, flag]).monitoring.path is None
    assert caplog.messages == ["--monitoring_config_file is without effect: no --rest_api_port"]
    assert parse_flags([MODEL, "--monitoring_config_file="]).monitoring.path is None


def test_loading(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("model_config_list {}")
    flags = """
        --model_config_file_poll_wait_seconds=30 --file_system_poll_wait_seconds=5
        --allow_version_labels_for_unavailable_models --num_load_threads=2 --num_unload_threads=1
        --max_num_load_retries=0 --load_retry_interval_micros=1500000
        --require_all_models=false --wait_for_models=false
    """
    load = parse_flags([f"--model_config_file={file}", *flags.split()]).load
    assert load == LoadOptions(
        poll_seconds=5,
        require_all_models=False,
        wait_for_models=False,
        config_file=file,
        config_poll_seconds=30,
        allow_labels_for_unavailable=True,
        load_threads=2,
        unload_threads=1,
        max_load_retries=0,
        retry_seconds=1.5,
    )


def test_negative_numbers() -> None:
    """TensorFlow Serving accepts these values, documented as "do not wait" and "do not poll"."""
    flags = """
        --load_retry_interval_micros=-1 --file_system_poll_wait_seconds=-1
        --model_config_file_poll_wait_seconds=-1 --max_num_load_retries=-1
        --num_request_iterations_for_warmup=-1
    """
    options = parse_flags([MODEL, *flags.split()])
    load = options.load
    assert load.retry_seconds == load.poll_seconds == load.config_poll_seconds == 0
    assert load.max_load_retries == 0
    assert options.warmup.iterations == 1


@pytest.mark.parametrize(
    ("flags", "intra", "inter"),
    [
        ([f"{THREADS}=3"], 3, 3),
        ([f"{INTRA}=2"], 2, 0),
        ([f"{INTER}=4"], 0, 4),
        ([f"{INTRA}=2", f"{INTER}=4"], 2, 4),
        ([f"{THREADS}=3", f"{INTRA}=2"], 2, 0),
        ([f"{THREADS}=3", f"{INTER}=4"], 0, 4),
    ],
)
def test_engine_threads(flags: list[str], intra: int, inter: int) -> None:
    options = parse_flags([MODEL, *flags]).engine
    assert (options.intra_op_threads, options.inter_op_threads) == (intra, inter)


def test_engines() -> None:
    flags = """
        --prefer_tflite_model --per_process_gpu_memory_fraction=0.25 --num_tflite_pools=3
        --num_tflite_interpreters_per_pool=2 --litert_on_demand
    """
    options = parse_flags([MODEL, "--saved_model_tags=serve, gpu", *flags.split()])
    assert options.engine == EngineOptions(
        prefer_tflite=True,
        saved_model_tags=frozenset({"serve", "gpu"}),
        gpu_memory_fraction=0.25,
        litert_pools=3,
        litert_interpreters=2,
        litert_on_demand=True,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "batching.pbtxt"
    path.write_text("max_batch_size { value: 8 } num_batch_threads { value: 3 }")
    return path


def test_the_check_of_method_names() -> None:
    flag = "--enable_signature_method_name_check"
    assert parse_flags([MODEL, flag]).inference.check_methods


def test_batching_without_a_file() -> None:
    batching = parse_flags([MODEL, "--enable_batching"]).batching
    assert batching.enabled
    assert batching.parameters.queue == QueueParameters()
    assert batching.parameters.thread_pool_name == "model_server_batch_threads"


def test_batching_per_model(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    flags = [MODEL, "--enable_batching", f"--batching_parameters_file={file}"]
    with caplog.at_level("INFO"):
        flags.append("--enable_per_model_batching_parameters")
        assert parse_flags(flags).batching.per_model
    assert caplog.messages == [
        f"batching parameters file {file}: without effect here: max_batch_size"
    ]


def test_batching_per_model_without_batching(caplog: pytest.LogCaptureFixture) -> None:
    parse_flags([MODEL, "--enable_per_model_batching_parameters"])
    assert caplog.messages == [
        "--enable_per_model_batching_parameters is without effect: no --enable_batching"
    ]


def test_a_batching_file_without_batching(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rejected([MODEL, f"--batching_parameters_file={file}"], capsys).startswith(
        "model_server: server_options.batching_parameters_file is set without setting "
        "server_options.enable_batching to true."
    )


SWITCHES = """
    allow_version_labels_for_unavailable_models enable_batching enable_grpc_healthcheck_service
    enable_model_warmup enable_per_model_batching_parameters enable_profiler
    enable_serialization_as_tensor_content enable_signature_method_name_check
    flush_filesystem_caches prefer_tflite_model remove_unused_fields_from_bundle_metagraph
    rest_api_enable_cors_support skip_initialize_tpu use_alts_credentials version
    xla_cpu_compilation_enabled xla_gpu_compilation_enabled
"""

NUMBERS = """
    file_system_poll_wait_seconds grpc_max_threads load_retry_interval_micros max_num_load_retries
    model_config_file_poll_wait_seconds num_load_threads num_request_iterations_for_warmup
    num_tflite_interpreters_per_pool num_tflite_pools num_unload_threads
    per_process_gpu_memory_fraction port rest_api_num_threads rest_api_port rest_api_timeout_in_ms
    tensorflow_inter_op_parallelism tensorflow_intra_op_parallelism tensorflow_session_parallelism
"""

TEXTS = """
    batching_parameters_file grpc_channel_arguments grpc_socket_path mixed_precision model_base_path
    model_config_file model_name monitoring_config_file platform_config_file ssl_config_file
    tensorflow_session_config_file thread_pool_factory_config_file
"""


@pytest.mark.parametrize("name", SWITCHES.split())
def test_switches(name: str) -> None:
    for value in ("false", "False", "f", "0"):
        parse_flags([MODEL, f"--{name}={value}"])


@pytest.mark.parametrize("name", NUMBERS.split())
def test_numbers(name: str) -> None:
    parse_flags([MODEL, f"--{name}=1"])


@pytest.mark.parametrize("name", TEXTS.split())
def test_texts_may_be_empty(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Scripts pass unset variables. The last of repeated flags counts."""
    parse_flags([f"--{name}=", "--model_name=m", MODEL])
    assert not caplog.messages
