"""The gateway's settings: environment variables, command-line options, checks and files.

For example, the setting `max_pixels` is the variable ROCKSTAR_MAX_PIXELS and the option
--max-pixels. An option overrides the variable, the variable overrides the default.
"""

import difflib
import importlib.util
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rockstar_contract.errors import InvalidInputError
from rockstar_contract.limits import DEFAULT_MAX_PIXELS
from rockstar_serving.gateway.api_keys import Keys, Rate
from rockstar_serving.gateway.routes_file import Routes, read_routes
from rockstar_serving.options import (
    HIDDEN,
    Option,
    OptionError,
    SettingError,
    Values,
    as_text,
    choice,
    number,
    option,
    options_of,
    words,
)

if TYPE_CHECKING:
    from rockstar_client.endpoint import Tls

PREFIX = "ROCKSTAR_"
MIB = 2**20
# Variables of other parts of the product, which the gateway ignores.
_OTHERS = ("API_KEY", "DATA_DIR", "DEBUG", "URL")
# What Kubernetes sets in every container for a service whose name starts with "rockstar", as in
# ROCKSTAR_GATEWAY_SERVICE_HOST=10.0.0.1 and ROCKSTAR_GATEWAY_PORT=tcp://10.0.0.1:8080.
_SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=.*|PORT=\w+://.*|PORT_\d+_(TCP|UDP|SCTP)\w*=.*)"
)


def _is_network(text: str) -> bool:
    try:
        return text == "*" or bool(ipaddress.ip_network(text))
    except ValueError:
        return False


def _rate(text: str) -> str:
    Rate.parse(text)
    return text


_FROM_0 = number(int, least=0)
_FROM_1 = number(int, least=1)
_SECONDS = number(float, above=0)
_RATE = Values("a rate such as 100/minute", _rate, "RATE")
_ORIGINS = words(
    "sites such as https://example.org, without a path, or *",
    re.compile(r"\*|https?://[^/?#\s]+").fullmatch,
)
_NETWORKS = words("addresses or networks such as 10.0.0.0/8, or *", _is_network)


@dataclass(frozen=True)
class GatewayConfig:
    """The settings of one gateway.

    Attributes:
        upstream: The model server's gRPC API: HOST:PORT, dns:///NAME:PORT, or unix:/PATH.
        upstream_ca: File of CA certificates (PEM) to verify the model server with: calls it over
            TLS, except on a UNIX socket.
        upstream_certificate: File with the certificate (PEM, with its chain) that the model server
            requires of the gateway.
        upstream_key: File with the key of that certificate, if it is another one.
        models: Models to list and to require for readiness.
        models_config: A models.config of the models that upstream serves; each worker runs their
            LiteRT files itself.
        require_all_models: Not ready while any model has failed to load; by default the others
            serve.
        routes: Routes file; reloaded on SIGHUP. See rockstar check.
        api_keys_file: File of API keys; changes apply within a second. --make-key creates entries.
        api_keys: API keys as NAME:SHA256.
        rate_limit: Default rate limit for keys without their own, e.g. 100/minute.
        corrections: Folder for images with the labels that users of the page chose, one folder for
            each label, for rockstar train --corrections; by default none are kept.
        cors_origins: Origins whose pages may call the gateway, https://HOST; * is all.
        bind: HOST:PORT, unix:PATH or fd://N.
        server: gunicorn, with a thread for each request, or granian, with an event loop; needs the
            extra "serve".
        tls_certificate: PEM file of the certificate and its chain, for HTTPS; read again on SIGHUP.
        tls_key: PEM file of the certificate's key.
        trusted_proxies: Addresses or networks of proxies whose X-Forwarded-Prefix,
            X-Forwarded-Proto and SCRIPT_NAME are trusted; * is all.
        keep_alive: Seconds that an idle connection stays open; set it higher than the proxy's in
            front.
        workers: Worker processes.
        threads: Concurrent requests per worker.
        queue: Requests that may wait per worker; beyond it, 429.
        drain: Seconds between SIGTERM, when /readyz fails, and shutdown.
        grace: Seconds that requests in flight get to finish at shutdown.
        log_format: text, or json with one object per line.
        access_log: Log each request.
        metrics_dir: Parent folder for the workers' metrics; default: TMPDIR.
        payload_log: File for a sample of requests and answers; images as hashes.
        payload_share: Share of requests in the payload log.
        tracing: Send OpenTelemetry spans; the OTEL_… variables configure them.
        request_timeout: Seconds for a request without X-Request-Timeout, from when its body has
            arrived.
        max_request_timeout: The largest X-Request-Timeout allowed, in seconds.
        upload_timeout: Seconds for a request body to arrive; then 408.
        max_batch: Most examples of several requests in one call; 1: no batching.
        max_calls: Concurrent calls per model and worker; more requests are batched.
        max_body_bytes: Largest request body, also when decompressed.
        max_pixels: Largest image, width x height, according to its header.
        max_instances: Most examples in one request.
    """

    upstream: str = option("127.0.0.1:8500")
    upstream_ca: str = option("")
    upstream_certificate: str = option("")
    upstream_key: str = option("")
    models: tuple[str, ...] = option((), flag="model")
    models_config: str = option("")
    require_all_models: bool = option(False)
    routes: str = option("")
    api_keys_file: str = option("")
    api_keys: tuple[str, ...] = option((), secret=True)
    rate_limit: str = option("", _RATE)
    corrections: str = option("")
    cors_origins: tuple[str, ...] = option((), _ORIGINS)
    bind: str = option("127.0.0.1:8080")
    server: str = option("gunicorn", choice("gunicorn", "granian"))
    tls_certificate: str = option("")
    tls_key: str = option("")
    trusted_proxies: tuple[str, ...] = option(("127.0.0.1", "::1"), _NETWORKS)
    keep_alive: int = option(75, _FROM_1)
    workers: int = option(2, _FROM_1)
    threads: int = option(32, _FROM_1)
    queue: int = option(64, _FROM_0)
    drain: float = option(0.0, number(float, least=0))
    grace: int = option(5, _FROM_0)
    log_format: str = option("text", choice("text", "json"))
    access_log: bool = option(True)
    metrics_dir: str = option("")
    payload_log: str = option("")
    payload_share: float = option(0.01, number(float, above=0, most=1))
    tracing: bool = option(False)
    request_timeout: float = option(10.0, _SECONDS)
    max_request_timeout: float = option(60.0, _SECONDS)
    upload_timeout: float = option(60.0, _SECONDS)
    max_batch: int = option(64, _FROM_1)
    max_calls: int = option(1, _FROM_1)
    max_body_bytes: int = option(24 * MIB, _FROM_1)
    max_pixels: int = option(DEFAULT_MAX_PIXELS, _FROM_1)
    max_instances: int = option(256, _FROM_1)


def settings() -> list[Option]:
    """All settings, in the order of GatewayConfig."""
    return list(options_of(GatewayConfig))


def variable(setting: Option) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{setting.name.upper()}"


def command_option(setting: Option) -> str:
    """The command-line option of a setting."""
    return f"--{setting.flag.replace('_', '-')}"


@dataclass(frozen=True)
class Effective:
    """The value in effect for a setting, and its source: "default", a variable or an option."""

    setting: Option
    value: Any
    source: str

    @property
    def shown(self) -> Any:
        """The value, unless it is secret."""
        return HIDDEN if self.setting.secret and self.value else self.value


def read_settings(options: Mapping[str, Any]) -> list[Effective]:
    """Combine options by setting name (None or empty: not given), environment and defaults.

    Raises SettingError for an unknown variable or an invalid value.
    """
    environment = {
        name.removeprefix(PREFIX): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX)
    }
    known = {setting.name.upper(): setting for setting in settings()}
    for name in sorted(environment.keys() - known.keys() - set(_OTHERS)):
        if _SERVICE_LINK.fullmatch(f"{name}={environment[name]}"):
            continue
        nearest = difflib.get_close_matches(name, [*known, *_OTHERS], n=1, cutoff=0.5)
        meant = f"did you mean {PREFIX}{nearest[0]}?" if nearest else "see rockstar gateway --help"
        raise SettingError(f"{PREFIX}{name}: there is no such setting; {meant}")
    return [
        _effective(setting, options.get(setting.name), environment.get(name))
        for name, setting in known.items()
    ]


def _effective(setting: Option, given: Any, from_environment: str | None) -> Effective:
    # Shells and Kubernetes write an unset variable as an empty one.
    for value, source in ((given, command_option(setting)), (from_environment, variable(setting))):
        if value not in (None, (), ""):
            try:
                return Effective(setting, setting.parse(as_text(value)), source)
            except OptionError as error:
                raise SettingError(f"{source}: {error}") from None
    return Effective(setting, setting.default, "default")


def config_of(effective: list[Effective]) -> GatewayConfig:
    """Check the settings together and build the configuration.

    Raises SettingError, also if something that they need is missing.
    """
    config = GatewayConfig(**{each.setting.name: each.value for each in effective})
    if not config.models:
        raise SettingError("ROCKSTAR_MODELS: expected one or more models; or give --model NAME")
    if config.request_timeout > config.max_request_timeout:
        raise SettingError(
            f"ROCKSTAR_REQUEST_TIMEOUT: expected at most ROCKSTAR_MAX_REQUEST_TIMEOUT, "
            f"{config.max_request_timeout:g}, got {config.request_timeout:g}"
        )
    if config.tracing and importlib.util.find_spec("opentelemetry") is None:
        raise SettingError("ROCKSTAR_TRACING: needs pip install 'rockstartf[otel]'")
    if config.server == "granian" and importlib.util.find_spec("granian") is None:
        raise SettingError("ROCKSTAR_SERVER: granian needs pip install 'rockstartf[serve]'")
    if config.tls_certificate or config.tls_key:
        _check_tls(config)
    try:
        if (tls := upstream_tls(config)) is not None:
            tls.context()
    except InvalidInputError as error:
        raise SettingError(f"ROCKSTAR_UPSTREAM_CA, _CERTIFICATE, _KEY: {error}") from error
    if config.payload_log:
        try:
            Path(config.payload_log).touch(mode=0o600)
        except OSError as error:
            raise SettingError(
                f"ROCKSTAR_PAYLOAD_LOG: {config.payload_log} cannot be written: {error.strerror}"
            ) from error
    if config.models_config:
        if importlib.util.find_spec("ai_edge_litert") is None:
            raise SettingError("ROCKSTAR_MODELS_CONFIG: needs pip install 'rockstartf[serve]'")
        # Imported only when needed: it takes a tenth of a second.
        from rockstar_serving.model_server.models.config import ConfigError, read_config_file

        try:
            read_config_file(Path(config.models_config))
        except ConfigError as error:
            raise SettingError(f"ROCKSTAR_MODELS_CONFIG: {error}") from error
    return config


def _check_tls(config: GatewayConfig) -> None:
    certificate, key = config.tls_certificate, config.tls_key
    if not certificate or not key:
        raise SettingError("ROCKSTAR_TLS_CERTIFICATE, ROCKSTAR_TLS_KEY: expected both or neither")
    try:
        context = ssl.create_default_context()
        # With a password, OpenSSL does not ask for one.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise SettingError(
            "ROCKSTAR_TLS_CERTIFICATE, ROCKSTAR_TLS_KEY: expected PEM files of a certificate and "
            f"its key without a password, got {certificate} and {key} ({error})"
        ) from error


def upstream_tls(config: GatewayConfig) -> "Tls | None":
    """The certificates with which to call the model server; None for plain text.

    Raises InvalidInputError for a certificate without a CA.
    """
    if not (config.upstream_ca or config.upstream_certificate or config.upstream_key):
        return None
    from rockstar_client.endpoint import Tls  # loads OpenSSL

    if not config.upstream_ca:
        raise InvalidInputError(
            "upstream_ca", expected="a file, as there is a certificate or key", got="none"
        )
    if config.upstream.startswith("unix:"):
        return None
    return Tls(config.upstream_ca, config.upstream_certificate or None, config.upstream_key or None)


def shown(effective: list[Effective]) -> str:
    """The settings as lines of an environment file with their sources; secrets are hidden."""
    lines = [f"{variable(each.setting)}={as_text(each.shown)}" for each in effective]
    width = max(map(len, lines))
    return "\n".join(
        f"{line:{width}}  # {each.source}" for line, each in zip(lines, effective, strict=True)
    )


def documents(effective: list[Effective]) -> list[dict[str, Any]]:
    """The settings as JSON objects; secrets are hidden."""
    return [
        {
            "name": each.setting.name,
            "variable": variable(each.setting),
            "value": each.shown,
            "source": each.source,
        }
        for each in effective
    ]


@dataclass(frozen=True)
class Files:
    """The contents of the files that settings name.

    Read before the workers fork: they share the rate limits of the keys.
    """

    routes: Routes = field(default_factory=Routes)
    keys: Keys = field(default_factory=Keys)


def read_files(config: GatewayConfig) -> Files:
    """Read the routes file and the API keys, at start and on SIGHUP; raises SettingError."""
    routes = read_routes(Path(config.routes)) if config.routes else Routes()
    return Files(routes, Keys(config.api_keys, config.api_keys_file, config.rate_limit))
