"""What `rockstar serve` is asked for."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from rockstar_serving.logs import LogFormat


def default_workers() -> int:
    """One for each core that this process may use, as each serves its requests one after the other.

    Two at least, so that one that dies or is slow leaves another; eight at most, for their memory.
    """
    known = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return min(max(2, cores), 8)


@dataclass(frozen=True)
class ServeOptions:
    """What to serve and where.

    Attributes:
        models: folder of models, `<model>/<version>/`; labels are those of its models.config.
        only: names of the models to serve; none is all in the folder.
        host: address to listen on.
        port: of the gateway; 0 picks a free one, here as below.
        grpc_port: of the model server.
        rest_port: of the model server.
        workers: processes of the gateway.
        tfserving: "host:port" of a TensorFlow Serving to use instead of the embedded server.
        log_format: of both servers.
        require_all_models: whether a model that does not load keeps the service from starting.
    """

    models: Path
    only: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 8500
    rest_port: int = 8501
    workers: int = field(default_factory=default_workers)
    tfserving: str | None = None
    log_format: LogFormat = "text"
    require_all_models: bool = False
