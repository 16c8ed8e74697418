"""The settings together: what a gateway starts with, checked before anything starts."""

import importlib.util
import ipaddress
import re
from pathlib import Path

from rockstar_serving.gateway.config import GatewayConfig
from rockstar_serving.gateway.settings import Effective, SettingError
from rockstar_serving.gateway.traffic.rates import Rate

_ORIGIN = re.compile(r"\*|https?://[^/?#\s]+")


def config_of(effective: list[Effective]) -> GatewayConfig:
    """The settings as they are passed on.

    Raises:
        SettingError: they contradict each other, or there is no model.
    """
    config = GatewayConfig(**{each.setting.name: each.value for each in effective})
    if not config.models:
        raise SettingError("ROCKSTAR_MODELS: expected one or more models; or give --model NAME")
    if config.request_timeout > config.max_request_timeout:
        raise SettingError(
            f"ROCKSTAR_REQUEST_TIMEOUT: expected at most ROCKSTAR_MAX_REQUEST_TIMEOUT, "
            f"{config.max_request_timeout:g}, got {config.request_timeout:g}"
        )
    _check_access(config)
    _check_observing(config)
    _check_models(config)
    return config


def _check_models(config: GatewayConfig) -> None:
    if not config.models_config:
        return
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise SettingError("ROCKSTAR_MODELS_CONFIG: needs pip install 'rockstartf[serve]'")
    # Not for every gateway: they take a tenth of a second.
    from rockstar_serving.model_server.models.config import ConfigError
    from rockstar_serving.model_server.models.config_file import read_config_file

    try:
        read_config_file(Path(config.models_config))
    except ConfigError as error:
        raise SettingError(f"ROCKSTAR_MODELS_CONFIG: {error}") from error


def _check_observing(config: GatewayConfig) -> None:
    """Before a worker stumbles on it."""
    if config.tracing and importlib.util.find_spec("opentelemetry") is None:
        raise SettingError("ROCKSTAR_TRACING: needs pip install 'rockstartf[otel]'")
    if config.payload_log:
        try:
            Path(config.payload_log).touch(mode=0o600)
        except OSError as error:
            raise SettingError(
                f"ROCKSTAR_PAYLOAD_LOG: {config.payload_log} cannot be written: {error.strerror}"
            ) from error


def _check_access(config: GatewayConfig) -> None:
    for origin in config.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            raise SettingError(
                "ROCKSTAR_CORS_ORIGINS: expected sites such as https://example.org, without a "
                f"path, or *, got {origin!r}"
            )
    for proxy in config.trusted_proxies:
        try:
            if proxy != "*":
                ipaddress.ip_network(proxy)
        except ValueError as error:
            raise SettingError(
                "ROCKSTAR_TRUSTED_PROXIES: expected addresses or networks such as 10.0.0.0/8, or "
                f"*, got {proxy!r}"
            ) from error
    try:
        if config.rate_limit:
            Rate.parse(config.rate_limit)
    except ValueError as error:
        raise SettingError(f"ROCKSTAR_RATE_LIMIT: {error}") from error
