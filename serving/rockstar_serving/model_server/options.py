"""What a server is made of."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rockstar_serving.model_server.batching.parameters import BatchingParameters
from rockstar_serving.model_server.models.config import ModelConfig

ANY_PORT = 0
DEFAULT_CACHE = Path("~/.cache/rockstartf/models")


def _four_per_core() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class EngineOptions:
    """How versions are run.

    Attributes:
        prefer_tflite: whether LiteRT runs what has a model.tflite; else TensorFlow runs what has a
            SavedModel.
        intra_op_threads: of one operation; 0: as the engine likes. LiteRT: of one request.
        inter_op_threads: for operations that do not depend on each other; 0: as the engine likes.
        saved_model_tags: of the graph in a SavedModel that is loaded.
        gpu_memory_fraction: of a GPU's memory that TensorFlow takes; 0: as TensorFlow likes.
        litert_pools: requests that LiteRT runs at once for a version; 0: one for each core.
        litert_interpreters: for each of these, which multiplies them.
        litert_on_demand: whether a version that was loaded and warmed up rests until a request.
    """

    prefer_tflite: bool = False
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    saved_model_tags: frozenset[str] = frozenset({"serve"})
    gpu_memory_fraction: float = 0.0
    litert_pools: int = 0
    litert_interpreters: int = 1
    litert_on_demand: bool = False


@dataclass(frozen=True)
class TlsOptions:
    """Certificates as PEM.

    Attributes:
        key: private, of the server.
        certificate: of the server, with those in between that lead to its authority.
        authority: whose certificates clients must show; None: they need none.
    """

    key: bytes = field(repr=False)
    certificate: bytes
    authority: bytes | None = None


@dataclass(frozen=True)
class GrpcOptions:
    """How gRPC is served.

    Attributes:
        port: None: off; ANY_PORT: a free one.
        threads: requests handled at once.
        socket_path: of a UNIX socket beside the port, or instead of it.
        tls: None: without.
        channel_arguments: of gRPC itself, by name.
        health: whether grpc.health.v1 is answered.
        reflection: whether clients may ask for the services and their messages.
        tensor_content: whether Predict answers tensors as bytes instead of in their typed fields.
    """

    port: int | None = ANY_PORT
    threads: int = field(default_factory=_four_per_core)
    socket_path: Path | None = None
    tls: TlsOptions | None = None
    channel_arguments: Mapping[str, int | str] = field(default_factory=dict)
    health: bool = False
    reflection: bool = False
    tensor_content: bool = False


@dataclass(frozen=True)
class RestOptions:
    """How REST is served.

    Attributes:
        port: None: off; ANY_PORT: a free one.
        threads: requests handled at once.
        timeout_seconds: of one request; None: no limit.
        max_body_bytes: of a request, also when it is inflated.
        cors: whether pages of other origins may use it.
    """

    port: int | None = ANY_PORT
    threads: int = field(default_factory=_four_per_core)
    timeout_seconds: float | None = 30.0
    max_body_bytes: int = 128 * 2**20
    cors: bool = False


@dataclass(frozen=True)
class LoadOptions:
    """When versions are loaded.

    Attributes:
        poll_seconds: between looks at the models' folders; 0: only once.
        require_all_models: whether a model of which no version loads keeps the server from
            starting; where not, that model is reported and the others are served.
        wait_for_models: whether the start waits for versions that are not there yet, and for
            those that are tried again; where not, it fails at once.
        config_file: to be watched for other models, if any.
        config_poll_seconds: between looks at that file; 0: it is not watched.
        allow_labels_for_unavailable: whether a label that is new may stand for a version that is
            not loaded.
        load_threads: that load versions after the start; 0: the thread that looks at the folders.
        unload_threads: that unload them; 0: likewise.
        max_load_retries: of a version that does not load, while its folder stays as it is.
        retry_seconds: between them.
        settle_seconds: without a change, after which a folder counts as written; 0: it always does.
        cache_path: folder for copies of models in object stores.
    """

    poll_seconds: float = 1.0
    require_all_models: bool = True
    wait_for_models: bool = True
    config_file: Path | None = None
    config_poll_seconds: float = 0.0
    allow_labels_for_unavailable: bool = False
    load_threads: int = 0
    unload_threads: int = 0
    max_load_retries: int = 5
    retry_seconds: float = 60.0
    settle_seconds: float = 0.25
    cache_path: Path = DEFAULT_CACHE


@dataclass(frozen=True)
class BatchingOptions:
    """How requests are batched.

    Attributes:
        enabled: whether they are.
        parameters: how; with per_model only the threads of it.
        per_model: whether each version says for itself, in a file of its folder.
    """

    enabled: bool = False
    parameters: BatchingParameters = field(default_factory=BatchingParameters)
    per_model: bool = False


@dataclass(frozen=True)
class InferenceOptions:
    """What requests may ask of a model.

    Attributes:
        check_methods: whether a signature is refused where its method_name is another than the
            request's. TensorFlow 2 names all signatures for Predict.
    """

    check_methods: bool = False


@dataclass(frozen=True)
class WarmupOptions:
    """How versions are warmed up.

    Attributes:
        enabled: whether requests that come with a version are replayed before it is available.
        iterations: how many times each of them.
    """

    enabled: bool = True
    iterations: int = 1


@dataclass(frozen=True)
class MonitoringOptions:
    """What the server tells of itself.

    Attributes:
        path: below the REST port, where Prometheus finds the metrics; None: off.
    """

    path: str | None = None


@dataclass(frozen=True)
class ServerOptions:
    """All of a server.

    Attributes:
        models: what to serve.
        host: address to listen on.
    """

    models: tuple[ModelConfig, ...]
    host: str = "127.0.0.1"
    grpc: GrpcOptions = GrpcOptions()
    rest: RestOptions = RestOptions()
    load: LoadOptions = LoadOptions()
    engine: EngineOptions = EngineOptions()
    batching: BatchingOptions = field(default_factory=BatchingOptions)
    inference: InferenceOptions = InferenceOptions()
    warmup: WarmupOptions = WarmupOptions()
    monitoring: MonitoringOptions = MonitoringOptions()
