"""What a server is made of."""

import os
from dataclasses import dataclass, field

from serving.model_server.batching.parameters import BatchingParameters
from serving.model_server.models.config import ModelConfig

ANY_PORT = 0


def _four_per_core() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class EngineOptions:
    """How versions are run.

    Attributes:
        intra_op_threads: of one request; 0: as the engine likes.
    """

    intra_op_threads: int = 0


@dataclass(frozen=True)
class GrpcOptions:
    """How gRPC is served.

    Attributes:
        port: None: off; ANY_PORT: a free one.
        threads: requests handled at once.
    """

    port: int | None = ANY_PORT
    threads: int = field(default_factory=_four_per_core)


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
    """

    poll_seconds: float = 1.0
    require_all_models: bool = True


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
