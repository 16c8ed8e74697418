"""What can be set of a gateway."""

from dataclasses import dataclass

from serving.images import DEFAULT_MAX_PIXELS


@dataclass(frozen=True)
class GatewayConfig:
    """Settings of one gateway; passed in, never read from the environment on the way.

    Attributes:
        upstream: address of the model server's gRPC API, "host:port" or "unix:/path".
        models: names that `/v1/models` lists and `/readyz` asks for.
        request_timeout_s: for everything that a request does, preprocessing and model together.
        max_body_bytes: largest request body.
        max_pixels: largest image, judged by its header.
        max_instances: most examples in one request.
    """

    upstream: str
    models: tuple[str, ...]
    request_timeout_s: float = 10.0
    max_body_bytes: int = 16 * 2**20
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_instances: int = 256
