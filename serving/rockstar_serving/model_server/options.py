"""The options of a server, and TensorFlow Serving's flags that set them.

The texts of attributes are also the help of the flags.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rockstar_serving.model_server.batching_parameters import BatchingParameters
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.object_store import SCHEMES
from rockstar_serving.options import OptionError, Values, choice, number, option

ANY_PORT = 0
DEFAULT_CACHE = Path("~/.cache/rockstartf/models")


def _digits(text: str, least: int = 0, most: float = math.inf) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ValueError
    return int(text)


def _clamped(text: str) -> int:
    """A whole number; less than 0 counts as 0, as in TensorFlow Serving."""
    return 0 if text.startswith("-") and text[1:].isdecimal() else _digits(text)


def _port(text: str) -> int | None:
    """A port number; None for 0 (off), ANY_PORT for `auto`."""
    return ANY_PORT if text == "auto" else _digits(text, most=65535) or None


def _path(text: str) -> Path | None:
    """A path or its file:// URL; None for an empty text, which scripts write for no file."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "file":
        return Path(rest)
    if separator and scheme.isalnum():
        raise ValueError
    return Path(text) if text else None


def _tags(text: str) -> frozenset[str]:
    found = frozenset(name.strip() for name in text.split(",")) - {""}
    if not found:
        raise ValueError
    return found


def _channel_arguments(text: str) -> dict[str, int | str]:
    """Arguments of a gRPC channel; int if the value is an int32."""
    found: dict[str, int | str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or not equals:
            raise OptionError(f"expected name=value,name=value, got {part!r}")
        digits = value.removeprefix("-")
        is_number = digits.isascii() and digits.isdigit() and -(2**31) <= int(value) < 2**31
        found[name] = int(value) if is_number else value
    return found


def _path_or_url(text: str) -> Path | str | None:
    return text if text.partition("://")[0] in SCHEMES and "://" in text else _path(text)


_WHOLE = "a whole number from 0"
COUNT = Values(_WHOLE, _digits, "N")
POSITIVE = Values("at least 1", partial(_digits, least=1), "N")
CLAMPED = Values(_WHOLE, _clamped, "N")
REPETITIONS = Values(_WHOLE, lambda text: _clamped(text) or 1, "N")
MILLISECONDS = Values(_WHOLE, lambda text: _clamped(text) / 1000 or None, "MS")
MICROSECONDS = Values("whole microseconds", lambda text: _clamped(text) / 1e6, "MICROSECONDS")
SECONDS = Values("seconds", lambda text: max(0.0, number(float).parse(text)), "SECONDS")
SHARE = Values("0 to 1", number(float, least=0, most=1).parse, "SHARE")
PORT = Values("0 to 65535 or auto", _port, "PORT")
PATH = Values("a path on this machine", _path, "PATH")
PATH_OR_URL = Values("a path, or a URL of an object store", _path_or_url, "PATH")
TAGS = Values("names with commas between them", _tags, "TAG,TAG")
CHANNEL_ARGUMENTS = Values("name=value,name=value", _channel_arguments, "NAME=VALUE,…")


def _four_per_core() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class EngineOptions:
    """How versions are run.

    Attributes:
        prefer_tflite: run models that have a model.tflite in LiteRT, even if TensorFlow could run
            their SavedModel.
        saved_model_tags: tags of the graph that is loaded from a SavedModel.
        intra_op_threads: threads of one operation; in LiteRT, of one request (0: TensorFlow one
            for each core, LiteRT one).
        inter_op_threads: threads for operations that do not depend on each other (0: one for each
            core).
        gpu_memory_fraction: share of a GPU's memory that TensorFlow reserves at the start (0:
            TensorFlow decides).
        litert_pools: requests that run at once in LiteRT, for each version (0: one for each core).
        litert_interpreters: multiplies --num_tflite_pools.
        litert_on_demand: for a server with few requests: free the memory of a version after
            loading and warmup until its first request, which reads the file again.
    """

    prefer_tflite: bool = option(False, flag="prefer_tflite_model")
    saved_model_tags: frozenset[str] = option(frozenset({"serve"}), TAGS, flag_default="serve")
    intra_op_threads: int = option(0, COUNT, flag="tensorflow_intra_op_parallelism")
    inter_op_threads: int = option(0, COUNT, flag="tensorflow_inter_op_parallelism")
    gpu_memory_fraction: float = option(0.0, SHARE, flag="per_process_gpu_memory_fraction")
    litert_pools: int = option(0, COUNT, flag="num_tflite_pools")
    litert_interpreters: int = option(1, POSITIVE, flag="num_tflite_interpreters_per_pool")
    litert_on_demand: bool = option(False)


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
    """How gRPC is served; port None: off, ANY_PORT: a free one.

    Attributes:
        port: a number, 0 for off, or auto for a free one.
        socket_path: UNIX socket to listen on, in addition to the port.
        threads: calls that are handled at once.
        tls: TLS, as text protobuf: server_key, server_cert, custom_ca and client_verify.
        channel_arguments: arguments of gRPC, such as grpc.max_connection_age_ms=2000.
        health: serve grpc.health.v1.
        reflection: let clients such as grpcurl list the services and messages.
        tensor_content: return tensors as bytes (tensor_content) instead of in typed fields such as
            float_val.
        reloads_from: who may change the served models by HandleReloadConfigRequest: local, clients
            on UNIX sockets and loopback; all; or none. It can load models from any folder.
    """

    port: int | None = option(ANY_PORT, PORT, flag_default="8500")
    socket_path: Path | None = option(None, PATH, flag="grpc_socket_path")
    threads: int = option(_four_per_core, POSITIVE, flag="grpc_max_threads")
    tls: TlsOptions | None = option(None, PATH, flag="ssl_config_file")
    channel_arguments: Mapping[str, int | str] = option(
        dict, CHANNEL_ARGUMENTS, flag="grpc_channel_arguments", flag_default=""
    )
    health: bool = option(False, flag="enable_grpc_healthcheck_service")
    reflection: bool = option(False, flag="enable_grpc_reflection")
    tensor_content: bool = option(False, flag="enable_serialization_as_tensor_content")
    reloads_from: str = option(
        "local", choice("local", "all", "none"), flag="allow_config_reload_from"
    )


@dataclass(frozen=True)
class RestOptions:
    """How REST is served; port None: off, ANY_PORT: a free one; timeout_seconds None: no limit.

    Attributes:
        port: a number, 0 for off, or auto for a free one.
        threads: requests that are handled at once.
        timeout_seconds: a request that takes longer gets status 504; 0: no limit.
        cors: allow web pages of other origins to use REST.
        max_body_bytes: larger bodies, also after decompression, are refused; and more than so many
            bytes of all bodies above 256 KiB wait. Reading them takes up to thirty times as much.
    """

    port: int | None = option(ANY_PORT, PORT, flag="rest_api_port", flag_default="0")
    threads: int = option(_four_per_core, POSITIVE, flag="rest_api_num_threads")
    timeout_seconds: float | None = option(
        30.0, MILLISECONDS, flag="rest_api_timeout_in_ms", flag_default="30000"
    )
    cors: bool = option(False, flag="rest_api_enable_cors_support")
    max_body_bytes: int = option(128 * 2**20, POSITIVE, flag="rest_api_max_body_bytes")


@dataclass(frozen=True)
class LoadOptions:
    """When versions are loaded; times in seconds. The models are in ServerOptions.

    Attributes:
        cache_path: folder for copies of models in object stores.
        config_file: several models, as text protobuf; a path or a URL, such as
            s3://bucket/models/models.config.
        require_all_models: fail to start if no version of a model loads; false: report it and
            serve the other models.
        wait_for_models: at the start wait, without listening, for versions that do not exist yet
            or are retried; false: fail at once.
        poll_seconds: time between checks for new versions; 0 or less: only at the start.
        config_poll_seconds: time between checks of the model config file; 0 or less: only at the
            start.
        allow_labels_for_unavailable: allow a new label for a version that is not loaded yet;
            needed for labels in the file that the server starts with.
        load_threads: threads that load versions after the start; 0: the thread that checks the
            folders.
        unload_threads: threads that unload versions; 0: likewise.
        max_load_retries: retries for a version that does not load, while its folder does not
            change.
        retry_seconds: time between these retries.
        settle_seconds: time without changes after which a folder counts as written; 0: always.
    """

    cache_path: Path = option(DEFAULT_CACHE, PATH, flag="model_cache_path")
    config_file: Path | str | None = option(None, PATH_OR_URL, flag="model_config_file")
    require_all_models: bool = option(True)
    wait_for_models: bool = option(True)
    poll_seconds: float = option(1.0, SECONDS, flag="file_system_poll_wait_seconds")
    config_poll_seconds: float = option(0.0, SECONDS, flag="model_config_file_poll_wait_seconds")
    allow_labels_for_unavailable: bool = option(
        False, flag="allow_version_labels_for_unavailable_models"
    )
    load_threads: int = option(0, COUNT, flag="num_load_threads")
    unload_threads: int = option(0, COUNT, flag="num_unload_threads")
    max_load_retries: int = option(5, CLAMPED, flag="max_num_load_retries")
    retry_seconds: float = option(
        60.0, MICROSECONDS, flag="load_retry_interval_micros", flag_default="60000000"
    )
    settle_seconds: float = 0.25


@dataclass(frozen=True)
class WarmupOptions:
    """How versions are warmed up.

    Attributes:
        enabled: replay assets.extra/tf_serving_warmup_requests before a version is available.
        iterations: how often each warmup request is replayed; 0: once.
    """

    enabled: bool = option(True, flag="enable_model_warmup")
    iterations: int = option(1, REPETITIONS, flag="num_request_iterations_for_warmup")


@dataclass(frozen=True)
class BatchingOptions:
    """How requests are batched; with per_model, only the threads of the parameters count.

    Attributes:
        enabled: run waiting requests for the same signature together.
        parameters: how to batch, as text protobuf: max_batch_size, batch_timeout_micros, ….
        per_model: batch only the versions that have a file batching_params.pbtxt in their folder,
            each with the parameters in that file.
    """

    enabled: bool = option(False, flag="enable_batching")
    parameters: BatchingParameters = option(
        BatchingParameters, PATH, flag="batching_parameters_file", flag_default=""
    )
    per_model: bool = option(False, flag="enable_per_model_batching_parameters")


@dataclass(frozen=True)
class InferenceOptions:
    """Which requests are allowed.

    Attributes:
        check_methods: refuse Classify and Regress for signatures with another method_name (false,
            because TensorFlow 2 names all signatures for Predict).
    """

    check_methods: bool = option(False, flag="enable_signature_method_name_check")


@dataclass(frozen=True)
class MonitoringOptions:
    """The metrics page below the REST port; path None: off.

    Attributes:
        path: text protobuf: prometheus_config { enable: true } serves metrics at the REST port.
    """

    path: str | None = option(None, PATH, flag="monitoring_config_file")


@dataclass(frozen=True)
class ServerOptions:
    """All options of a server.

    Attributes:
        models: to serve at the start.
        host: address to listen on.
        address_file: when ready, write the addresses and the process id to this file, as JSON.
    """

    models: tuple[ModelConfig, ...]
    host: str = option("127.0.0.1", flag_default="0.0.0.0")  # noqa: S104 (as TensorFlow Serving)
    grpc: GrpcOptions = GrpcOptions()
    rest: RestOptions = RestOptions()
    load: LoadOptions = LoadOptions()
    engine: EngineOptions = EngineOptions()
    batching: BatchingOptions = field(default_factory=BatchingOptions)
    inference: InferenceOptions = InferenceOptions()
    warmup: WarmupOptions = WarmupOptions()
    monitoring: MonitoringOptions = MonitoringOptions()
    address_file: Path | None = option(None, PATH)
