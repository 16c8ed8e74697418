"""The options of a server, and the command line flags that set them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rockstar_serving.model_server.batching.parameters import BatchingParameters
from rockstar_serving.model_server.models.config import ModelConfig

ANY_PORT = 0
DEFAULT_CACHE = Path("~/.cache/rockstartf/models")

Kind = Literal[
    "channel arguments",
    "clamped count",
    "count",
    "microseconds",
    "milliseconds",
    "path",
    "port",
    "positive",
    "repetitions",
    "seconds",
    "share",
    "switch",
    "tags",
    "text",
]


@dataclass(frozen=True)
class Flag:
    """A command line flag.

    Attributes:
        name: without dashes.
        kind: how its value is parsed, and its unit.
        help: text for --help, with the default in parentheses.
        default: value without the flag; a string is parsed.
    """

    name: str
    kind: Kind
    help: str
    default: Any = None


def option(
    name: str,
    kind: Kind,
    help: str,  # noqa: A002 (as in argparse)
    default: Any = MISSING,
    *,
    factory: Callable[[], Any] | None = None,
    flag_default: str | None = None,
) -> Any:
    """A dataclass field that a flag sets.

    Args:
        name: of the flag.
        kind: of the flag.
        help: of the flag.
        default: of the field.
        factory: makes the default of the field instead.
        flag_default: default of the flag, if it differs from that of the field; it is parsed.
    """
    if factory is not None:
        default = factory()
    flag = Flag(name, kind, help, default if flag_default is None else flag_default)
    if factory is not None:
        return field(default_factory=factory, metadata={"flag": flag})
    return field(default=default, metadata={"flag": flag})


def _four_per_core() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class EngineOptions:
    """How versions are run."""

    prefer_tflite: bool = option(
        "prefer_tflite_model",
        "switch",
        "run models that have a model.tflite in LiteRT, even if TensorFlow could run their "
        "SavedModel (false)",
        False,
    )
    saved_model_tags: frozenset[str] = option(
        "saved_model_tags",
        "tags",
        "tags of the graph that is loaded from a SavedModel (%(default)s)",
        frozenset({"serve"}),
        flag_default="serve",
    )
    intra_op_threads: int = option(
        "tensorflow_intra_op_parallelism",
        "count",
        "threads of one operation; in LiteRT, of one request (0: TensorFlow one for each core, "
        "LiteRT one)",
        0,
    )
    inter_op_threads: int = option(
        "tensorflow_inter_op_parallelism",
        "count",
        "threads for operations that do not depend on each other (0: one for each core)",
        0,
    )
    gpu_memory_fraction: float = option(
        "per_process_gpu_memory_fraction",
        "share",
        "share of a GPU's memory that TensorFlow reserves at the start (0: TensorFlow decides)",
        0.0,
    )
    litert_pools: int = option(
        "num_tflite_pools",
        "count",
        "requests that run at once in LiteRT, for each version (0: one for each core)",
        0,
    )
    litert_interpreters: int = option(
        "num_tflite_interpreters_per_pool", "positive", "multiplies --num_tflite_pools (1)", 1
    )
    litert_on_demand: bool = option(
        "litert_on_demand",
        "switch",
        "for a server with few requests: free the memory of a version after loading and warmup "
        "until its first request, which reads the file again (false)",
        False,
    )


@dataclass(frozen=True)
class TlsOptions:
    """Certificates as PEM.

    Attributes:
        key: private key of the server.
        certificate: of the server, followed by intermediate certificates.
        authority: that signs the certificates of clients; None: clients need no certificate.
    """

    key: bytes = field(repr=False)
    certificate: bytes
    authority: bytes | None = None


@dataclass(frozen=True)
class GrpcOptions:
    """How gRPC is served; port None: off, ANY_PORT: a free one."""

    port: int | None = option(
        "port",
        "port",
        "a number, 0 for off, or auto for a free one (%(default)s)",
        ANY_PORT,
        flag_default="8500",
    )
    socket_path: Path | None = option(
        "grpc_socket_path", "path", "UNIX socket to listen on, in addition to the port", None
    )
    threads: int = option(
        "grpc_max_threads",
        "positive",
        "calls that are handled at once (%(default)s)",
        factory=_four_per_core,
    )
    tls: TlsOptions | None = option(
        "ssl_config_file",
        "path",
        "TLS, as text protobuf: server_key, server_cert, custom_ca and client_verify",
        None,
    )
    channel_arguments: Mapping[str, int | str] = option(
        "grpc_channel_arguments",
        "channel arguments",
        "arguments of gRPC, such as grpc.max_connection_age_ms=2000",
        factory=dict,
    )
    health: bool = option(
        "enable_grpc_healthcheck_service", "switch", "serve grpc.health.v1 (false)", False
    )
    reflection: bool = option(
        "enable_grpc_reflection",
        "switch",
        "let clients such as grpcurl list the services and messages (false)",
        False,
    )
    tensor_content: bool = option(
        "enable_serialization_as_tensor_content",
        "switch",
        "return tensors as bytes (tensor_content) instead of in typed fields such as float_val "
        "(false)",
        False,
    )


@dataclass(frozen=True)
class RestOptions:
    """How REST is served; port None: off, ANY_PORT: a free one; timeout_seconds None: no limit."""

    port: int | None = option(
        "rest_api_port",
        "port",
        "a number, 0 for off, or auto for a free one (0)",
        ANY_PORT,
        flag_default="0",
    )
    threads: int = option(
        "rest_api_num_threads",
        "positive",
        "requests that are handled at once (%(default)s)",
        factory=_four_per_core,
    )
    timeout_seconds: float | None = option(
        "rest_api_timeout_in_ms",
        "milliseconds",
        "a request that takes longer gets status 504; 0: no limit (%(default)s)",
        30.0,
        flag_default="30000",
    )
    cors: bool = option(
        "rest_api_enable_cors_support",
        "switch",
        "allow web pages of other origins to use REST (false)",
        False,
    )
    max_body_bytes: int = option(
        "rest_api_max_body_bytes",
        "positive",
        "larger bodies, also after decompression, are refused; reading one takes up to ten times "
        "its size (%(default)s)",
        128 * 2**20,
    )


@dataclass(frozen=True)
class LoadOptions:
    """When versions are loaded; times in seconds.

    Attributes:
        config_file: to be watched; the models themselves are in ServerOptions.
        settle_seconds: time without changes after which a folder counts as written; 0: always.
    """

    cache_path: Path = option(
        "model_cache_path",
        "path",
        "folder for copies of models in object stores (%(default)s)",
        DEFAULT_CACHE,
    )
    config_file: Path | None = option(
        "model_config_file", "path", "several models, as text protobuf", None
    )
    require_all_models: bool = option(
        "require_all_models",
        "switch",
        "fail to start if no version of a model loads; false: report it and serve the other models "
        "(true)",
        True,
    )
    wait_for_models: bool = option(
        "wait_for_models",
        "switch",
        "at the start wait, without listening, for versions that do not exist yet or are retried; "
        "false: fail at once (true)",
        True,
    )
    poll_seconds: float = option(
        "file_system_poll_wait_seconds",
        "seconds",
        "time between checks for new versions; 0 or less: only at the start (1)",
        1.0,
    )
    config_poll_seconds: float = option(
        "model_config_file_poll_wait_seconds",
        "seconds",
        "time between checks of the model config file; 0 or less: only at the start (0)",
        0.0,
    )
    allow_labels_for_unavailable: bool = option(
        "allow_version_labels_for_unavailable_models",
        "switch",
        "allow a new label for a version that is not loaded yet; needed for labels in the file "
        "that the server starts with (false)",
        False,
    )
    load_threads: int = option(
        "num_load_threads",
        "count",
        "threads that load versions after the start; 0: the thread that checks the folders (0)",
        0,
    )
    unload_threads: int = option(
        "num_unload_threads", "count", "threads that unload versions; 0: likewise (0)", 0
    )
    max_load_retries: int = option(
        "max_num_load_retries",
        "clamped count",
        "retries for a version that does not load, while its folder does not change (%(default)s)",
        5,
    )
    retry_seconds: float = option(
        "load_retry_interval_micros",
        "microseconds",
        "time between these retries (%(default)s)",
        60.0,
        flag_default="60000000",
    )
    settle_seconds: float = 0.25


@dataclass(frozen=True)
class WarmupOptions:
    """How versions are warmed up."""

    enabled: bool = option(
        "enable_model_warmup",
        "switch",
        "replay assets.extra/tf_serving_warmup_requests before a version is available (true)",
        True,
    )
    iterations: int = option(
        "num_request_iterations_for_warmup",
        "repetitions",
        "how often each warmup request is replayed (0: once)",
        1,
    )


@dataclass(frozen=True)
class BatchingOptions:
    """How requests are batched; with per_model, only the threads of the parameters count."""

    enabled: bool = option(
        "enable_batching",
        "switch",
        "run waiting requests for the same signature together (false)",
        False,
    )
    parameters: BatchingParameters = option(
        "batching_parameters_file",
        "path",
        "how to batch, as text protobuf: max_batch_size, batch_timeout_micros, …",
        factory=BatchingParameters,
        flag_default="",
    )
    per_model: bool = option(
        "enable_per_model_batching_parameters",
        "switch",
        "batch only the versions that have a file batching_params.pbtxt in their folder, each with "
        "the parameters in that file (false)",
        False,
    )


@dataclass(frozen=True)
class InferenceOptions:
    """Which requests are allowed."""

    check_methods: bool = option(
        "enable_signature_method_name_check",
        "switch",
        "refuse Classify and Regress for signatures with another method_name (false, because "
        "TensorFlow 2 names all signatures for Predict)",
        False,
    )


@dataclass(frozen=True)
class MonitoringOptions:
    """The metrics page below the REST port; path None: off."""

    path: str | None = option(
        "monitoring_config_file",
        "path",
        "text protobuf: prometheus_config { enable: true } serves metrics at the REST port",
        None,
    )


@dataclass(frozen=True)
class ServerOptions:
    """All options of a server."""

    models: tuple[ModelConfig, ...]
    host: str = option(
        "host",
        "text",
        "address to listen on (%(default)s)",
        "127.0.0.1",
        flag_default="0.0.0.0",  # noqa: S104 (as in TensorFlow Serving)
    )
    grpc: GrpcOptions = GrpcOptions()
    rest: RestOptions = RestOptions()
    load: LoadOptions = LoadOptions()
    engine: EngineOptions = EngineOptions()
    batching: BatchingOptions = field(default_factory=BatchingOptions)
    inference: InferenceOptions = InferenceOptions()
    warmup: WarmupOptions = WarmupOptions()
    monitoring: MonitoringOptions = MonitoringOptions()
