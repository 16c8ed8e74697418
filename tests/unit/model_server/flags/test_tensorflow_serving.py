"""The command line of TensorFlow Serving 2.20 (model_servers/main.cc)."""

import pytest

from rockstar_serving.model_server.flags.parser import parse_flags

SWITCHES = [
    "allow_version_labels_for_unavailable_models",
    "enable_batching",
    "enable_grpc_healthcheck_service",
    "enable_model_warmup",
    "enable_per_model_batching_parameters",
    "enable_profiler",
    "enable_serialization_as_tensor_content",
    "enable_signature_method_name_check",
    "flush_filesystem_caches",
    "prefer_tflite_model",
    "remove_unused_fields_from_bundle_metagraph",
    "rest_api_enable_cors_support",
    "skip_initialize_tpu",
    "use_alts_credentials",
    "version",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
]

NUMBERS = [
    "file_system_poll_wait_seconds",
    "grpc_max_threads",
    "load_retry_interval_micros",
    "max_num_load_retries",
    "model_config_file_poll_wait_seconds",
    "num_load_threads",
    "num_request_iterations_for_warmup",
    "num_tflite_interpreters_per_pool",
    "num_tflite_pools",
    "num_unload_threads",
    "per_process_gpu_memory_fraction",
    "port",
    "rest_api_num_threads",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "tensorflow_inter_op_parallelism",
    "tensorflow_intra_op_parallelism",
    "tensorflow_session_parallelism",
]

TEXTS = [
    "batching_parameters_file",
    "grpc_channel_arguments",
    "grpc_socket_path",
    "mixed_precision",
    "model_base_path",
    "model_config_file",
    "model_name",
    "monitoring_config_file",
    "platform_config_file",
    "ssl_config_file",
    "tensorflow_session_config_file",
    "thread_pool_factory_config_file",
]

MODEL = ("--model_name=m", "--model_base_path=/models/m")


@pytest.mark.parametrize("name", SWITCHES)
def test_switches(name: str) -> None:
    for value in ("false", "False", "0"):
        parse_flags([*MODEL, f"--{name}={value}"])


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str) -> None:
    parse_flags([*MODEL, f"--{name}=1"])


@pytest.mark.parametrize("name", TEXTS)
def test_texts_may_be_empty(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Scripts pass on variables that are not set. What is given twice counts as given last."""
    parse_flags([f"--{name}=", *MODEL])
    assert not caplog.messages
