"""What can be set of a gateway: each setting with its type, limits, meaning and default.

A setting `max_pixels` is the environment variable ROCKSTAR_MAX_PIXELS and the option --max-pixels;
`gateway.settings` reads them, `gateway.setting_checks` checks them together.
"""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from rockstar_contract.limits import DEFAULT_MAX_PIXELS

MIB = 2**20


@dataclass(frozen=True)
class GatewayConfig:
    """Settings of one gateway; passed in, never read from the environment on the way."""

    upstream: Annotated[
        str, Meta(description="The model server's gRPC API: HOST:PORT, or unix:/PATH.")
    ] = "127.0.0.1:8500"
    models: Annotated[
        tuple[str, ...],
        Meta(description="Models to list and to be ready for.", extra={"option": "--model"}),
    ] = ()
    models_config: Annotated[
        str,
        Meta(
            description="A models.config with what upstream serves: each worker runs the LiteRT "
            "files of these models itself."
        ),
    ] = ""

    require_all_models: Annotated[
        bool,
        Meta(description="Not ready while a model has failed to load; else the others are served."),
    ] = False

    routes: Annotated[
        str, Meta(description="Routes file; read again on SIGHUP. See rockstar check.")
    ] = ""

    api_keys_file: Annotated[
        str, Meta(description="Who may ask; read again on SIGHUP. --make-key makes entries.")
    ] = ""
    api_keys: Annotated[
        tuple[str, ...], Meta(description="Likewise: NAME:SHA256.", extra={"secret": True})
    ] = ()
    rate_limit: Annotated[
        str, Meta(description="Of keys without one of their own, such as 100/minute.")
    ] = ""
    cors_origins: Annotated[
        tuple[str, ...], Meta(description="Sites whose pages may ask, https://HOST; * is all.")
    ] = ()

    bind: Annotated[str, Meta(description="HOST:PORT, unix:PATH or fd://N.")] = "127.0.0.1:8080"
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of proxies whose X-Forwarded-Prefix, "
            "X-Forwarded-Proto and SCRIPT_NAME count; * is all."
        ),
    ] = ("127.0.0.1", "::1")
    keep_alive: Annotated[
        int,
        Meta(
            ge=1,
            description="Seconds that a connection stays open between requests; more than "
            "those of a proxy in front.",
        ),
    ] = 75
    workers: Annotated[int, Meta(ge=1, description="Processes.")] = 2
    threads: Annotated[int, Meta(ge=1, description="Requests at a time in each process.")] = 32
    queue: Annotated[
        int, Meta(ge=0, description="Requests that wait in each process; then it answers 429.")
    ] = 64
    drain: Annotated[
        float,
        Meta(ge=0, description="Seconds between SIGTERM, when /readyz fails, and its end of work."),
    ] = 0.0
    grace: Annotated[
        int, Meta(ge=0, description="Seconds that requests in flight have when it stops.")
    ] = 5

    preparing: Annotated[
        int, Meta(ge=1, description="Requests at a time that prepare their inputs; bounds memory.")
    ] = 4

    log_format: Annotated[
        str, Meta(pattern="^(text|json)$", description="text, or json with an object a line.")
    ] = "text"
    access_log: Annotated[bool, Meta(description="Log each request.")] = True
    metrics_dir: Annotated[
        str, Meta(description="Folder for a folder of the workers' counts; else that of TMPDIR.")
    ] = ""
    payload_log: Annotated[
        str, Meta(description="File for a sample of requests and answers, images by hash.")
    ] = ""
    payload_share: Annotated[
        float, Meta(gt=0, le=1, description="Share of the requests in the payload log.")
    ] = 0.01
    tracing: Annotated[
        bool, Meta(description="Send OpenTelemetry spans, as the variables OTEL_… say.")
    ] = False

    request_timeout: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds for a request that does not say X-Request-Timeout, from when its "
            "body has arrived.",
        ),
    ] = 10.0
    max_request_timeout: Annotated[
        float, Meta(gt=0, description="The most seconds that X-Request-Timeout may ask for.")
    ] = 60.0
    upload_timeout: Annotated[
        float, Meta(gt=0, description="Seconds that a request body may take to arrive; then 408.")
    ] = 60.0
    max_batch: Annotated[
        int, Meta(ge=1, description="Most examples of several requests in one call; 1: never join.")
    ] = 64
    max_calls: Annotated[
        int,
        Meta(ge=1, description="Calls of a model at a time, of each process; then requests join."),
    ] = 1
    max_body_bytes: Annotated[
        int, Meta(ge=1, description="Largest request body, also when decompressed.")
    ] = 24 * MIB
    max_pixels: Annotated[
        int, Meta(ge=1, description="Largest image, width x height, judged by its header.")
    ] = DEFAULT_MAX_PIXELS
    max_instances: Annotated[int, Meta(ge=1, description="Most examples in one request.")] = 256
