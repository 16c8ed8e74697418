"""What a server is made of."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
    """

    port: int | None = ANY_PORT
    threads: int = field(default_factory=_four_per_core)


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
