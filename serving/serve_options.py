"""What `rockstar serve` is asked for."""

from dataclasses import dataclass
from pathlib import Path

from serving.logs import LogFormat


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
    """

    models: Path
    only: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = 8500
    rest_port: int = 8501
    workers: int = 2
    tfserving: str | None = None
    log_format: LogFormat = "text"
