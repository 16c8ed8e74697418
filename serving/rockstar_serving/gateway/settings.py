"""Settings of the gateway: their types, limits and defaults, where they come from, and checks.

For example, the setting `max_pixels` is the variable ROCKSTAR_MAX_PIXELS and the option
--max-pixels. An option overrides the variable, the variable overrides the default.
"""

import difflib
import importlib.util
import ipaddress
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from rockstar_contract.limits import DEFAULT_MAX_PIXELS
from rockstar_serving.gateway.api_keys import Keys, KeysError, Rate, parse_keys, read_keys
from rockstar_serving.gateway.routes_file import Routes, RoutesError, read_routes

PREFIX = "ROCKSTAR"
MIB = 2**20
# Variables of other parts of the product, which the gateway ignores.
_OTHERS = ("API_KEY", "DATA_DIR", "DEBUG", "URL")
# What Kubernetes sets in every container for a service whose name starts with "rockstar", as in
# ROCKSTAR_GATEWAY_SERVICE_HOST=10.0.0.1 and ROCKSTAR_GATEWAY_PORT=tcp://10.0.0.1:8080.
_SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=.*|PORT=\w+://.*|PORT_\d+_(TCP|UDP|SCTP)\w*=.*)"
)
_ORIGIN = re.compile(r"\*|https?://[^/?#\s]+")
_HIDDEN = "(hidden)"


class SettingError(ValueError):
    """An unknown setting or invalid value; the message names it and says what is expected."""


class FilesError(ValueError):
    """A file named by a setting cannot be used; the message names the file."""


@dataclass(frozen=True)
class GatewayConfig:
    """The settings of one gateway."""

    upstream: Annotated[
        str, Meta(description="The model server's gRPC API: HOST:PORT, or unix:/PATH.")
    ] = "127.0.0.1:8500"
    models: Annotated[
        tuple[str, ...],
        Meta(
            description="Models to list and to require for readiness.", extra={"option": "--model"}
        ),
    ] = ()
    models_config: Annotated[
        str,
        Meta(
            description="A models.config of the models that upstream serves; each worker runs "
            "their LiteRT files itself."
        ),
    ] = ""

    require_all_models: Annotated[
        bool,
        Meta(
            description="Not ready while any model has failed to load; by default the others serve."
        ),
    ] = False

    routes: Annotated[
        str, Meta(description="Routes file; reloaded on SIGHUP. See rockstar check.")
    ] = ""

    api_keys_file: Annotated[
        str, Meta(description="File of API keys; reloaded on SIGHUP. --make-key creates entries.")
    ] = ""
    api_keys: Annotated[
        tuple[str, ...], Meta(description="API keys as NAME:SHA256.", extra={"secret": True})
    ] = ()
    rate_limit: Annotated[
        str, Meta(description="Default rate limit for keys without their own, e.g. 100/minute.")
    ] = ""
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(description="Origins whose pages may call the gateway, https://HOST; * is all."),
    ] = ()

    bind: Annotated[str, Meta(description="HOST:PORT, unix:PATH or fd://N.")] = "127.0.0.1:8080"
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of proxies whose X-Forwarded-Prefix, "
            "X-Forwarded-Proto and SCRIPT_NAME are trusted; * is all."
        ),
    ] = ("127.0.0.1", "::1")
    keep_alive: Annotated[
        int,
        Meta(
            ge=1,
            description="Seconds that an idle connection stays open; set it higher than the "
            "proxy's in front.",
        ),
    ] = 75
    workers: Annotated[int, Meta(ge=1, description="Worker processes.")] = 2
    threads: Annotated[int, Meta(ge=1, description="Concurrent requests per worker.")] = 32
    queue: Annotated[
        int, Meta(ge=0, description="Requests that may wait per worker; beyond it, 429.")
    ] = 64
    drain: Annotated[
        float,
        Meta(ge=0, description="Seconds between SIGTERM, when /readyz fails, and shutdown."),
    ] = 0.0
    grace: Annotated[
        int, Meta(ge=0, description="Seconds that requests in flight get to finish at shutdown.")
    ] = 5

    preparing: Annotated[
        int, Meta(ge=1, description="Requests that preprocess at the same time; limits memory.")
    ] = 4

    log_format: Annotated[
        str, Meta(pattern="^(text|json)$", description="text, or json with one object per line.")
    ] = "text"
    access_log: Annotated[bool, Meta(description="Log each request.")] = True
    metrics_dir: Annotated[
        str, Meta(description="Parent folder for the workers' metrics; default: TMPDIR.")
    ] = ""
    payload_log: Annotated[
        str, Meta(description="File for a sample of requests and answers; images as hashes.")
    ] = ""
    payload_share: Annotated[
        float, Meta(gt=0, le=1, description="Share of requests in the payload log.")
    ] = 0.01
    tracing: Annotated[
        bool, Meta(description="Send OpenTelemetry spans; the OTEL_… variables configure them.")
    ] = False

    request_timeout: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds for a request without X-Request-Timeout, from when its body has "
            "arrived.",
        ),
    ] = 10.0
    max_request_timeout: Annotated[
        float, Meta(gt=0, description="The largest X-Request-Timeout allowed, in seconds.")
    ] = 60.0
    upload_timeout: Annotated[
        float, Meta(gt=0, description="Seconds for a request body to arrive; then 408.")
    ] = 60.0
    max_batch: Annotated[
        int,
        Meta(ge=1, description="Most examples of several requests in one call; 1: no batching."),
    ] = 64
    max_calls: Annotated[
        int,
        Meta(ge=1, description="Concurrent calls per model and worker; more requests are batched."),
    ] = 1
    max_body_bytes: Annotated[
        int, Meta(ge=1, description="Largest request body, also when decompressed.")
    ] = 24 * MIB
    max_pixels: Annotated[
        int, Meta(ge=1, description="Largest image, width x height, according to its header.")
    ] = DEFAULT_MAX_PIXELS
    max_instances: Annotated[int, Meta(ge=1, description="Most examples in one request.")] = 256


@dataclass(frozen=True)
class Setting:
    """One field of GatewayConfig, as a variable and an option.

    Attributes:
        name: field name.
        type: type of the value, with its limits.
        meta: limits and description.
        default: value when nothing sets it.
    """

    name: str
    type: Any
    meta: msgspec.Meta
    default: Any

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"{PREFIX}_{self.name.upper()}"

    @property
    def option(self) -> str:
        """Its command-line option."""
        option: str = (self.meta.extra or {}).get("option", f"--{self.name.replace('_', '-')}")
        return option

    @property
    def base(self) -> Any:
        """The bare type: int, float, bool, str or tuple[str, ...]."""
        return get_args(self.type)[0]

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return bool((self.meta.extra or {}).get("secret"))

    @property
    def expected(self) -> str:
        """The values it takes, for error messages."""
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        kind = kinds.get(self.base, "one or more names with spaces or commas between them")
        limits = (
            ("from", self.meta.ge),
            ("above", self.meta.gt),
            ("to", self.meta.le),
            ("below", self.meta.lt),
        )
        return " ".join([kind, *(f"{word} {limit}" for word, limit in limits if limit is not None)])

    def convert(self, value: Any, source: str) -> Any:
        """Convert a variable's or option's value to the setting's type.

        Raises:
            SettingError: wrong type or out of range.
        """
        if self.base == tuple[str, ...]:
            words = [value] if isinstance(value, str) else value
            value = tuple(word for text in words for word in text.replace(",", " ").split())
        try:
            converted = msgspec.convert(value, self.type, strict=False)
        except msgspec.ValidationError:
            converted = math.nan
        if isinstance(converted, float) and not math.isfinite(converted):
            got = _HIDDEN if self.secret else repr(value)
            raise SettingError(f"{source}: expected {self.expected}, got {got}")
        return converted


@dataclass(frozen=True)
class Effective:
    """The value in effect for a setting, and its source: "default", a variable or an option."""

    setting: Setting
    value: Any
    source: str


def settings() -> Iterator[Setting]:
    """All settings, in the order of GatewayConfig."""
    hints = get_type_hints(GatewayConfig, include_extras=True)
    for each in fields(GatewayConfig):
        yield Setting(each.name, hints[each.name], get_args(hints[each.name])[1], each.default)


def read_settings(options: Mapping[str, Any]) -> list[Effective]:
    """Combine options, environment and defaults.

    Args:
        options: from the command line, by setting name; None or empty means not given.

    Raises:
        SettingError: an unknown variable or an invalid value.
    """
    environment = {
        name.removeprefix(f"{PREFIX}_"): value
        for name, value in os.environ.items()
        if name.startswith(f"{PREFIX}_")
    }
    known = {setting.name.upper(): setting for setting in settings()}
    for name in sorted(environment.keys() - known.keys() - set(_OTHERS)):
        if _SERVICE_LINK.fullmatch(f"{name}={environment[name]}"):
            continue
        nearest = difflib.get_close_matches(name, [*known, *_OTHERS], n=1, cutoff=0.5)
        meant = f"did you mean {PREFIX}_{nearest[0]}?" if nearest else "see rockstar gateway --help"
        raise SettingError(f"{PREFIX}_{name}: there is no such setting; {meant}")
    return [
        _effective(setting, options.get(setting.name), environment.get(name))
        for name, setting in known.items()
    ]


def _effective(setting: Setting, option: Any, variable: Any) -> Effective:
    # Shells and Kubernetes write an unset variable as an empty one.
    for given, source in ((option, setting.option), (variable, setting.variable)):
        if given not in (None, (), ""):
            return Effective(setting, setting.convert(given, source), source)
    return Effective(setting, setting.default, "default")


def config_of(effective: list[Effective]) -> GatewayConfig:
    """Check the settings together and build the configuration.

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
    if config.tracing and importlib.util.find_spec("opentelemetry") is None:
        raise SettingError("ROCKSTAR_TRACING: needs pip install 'rockstartf[otel]'")
    if config.payload_log:
        try:
            Path(config.payload_log).touch(mode=0o600)
        except OSError as error:
            raise SettingError(
                f"ROCKSTAR_PAYLOAD_LOG: {config.payload_log} cannot be written: {error.strerror}"
            ) from error
    if config.models_config:
        _check_models_config(config.models_config)
    return config


def _check_models_config(path: str) -> None:
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise SettingError("ROCKSTAR_MODELS_CONFIG: needs pip install 'rockstartf[serve]'")
    # Imported only when needed: it takes a tenth of a second.
    from rockstar_serving.model_server.models.config import ConfigError
    from rockstar_serving.model_server.models.config_file import read_config_file

    try:
        read_config_file(Path(path))
    except ConfigError as error:
        raise SettingError(f"ROCKSTAR_MODELS_CONFIG: {error}") from error


def shown(effective: list[Effective]) -> str:
    """The settings as lines of an environment file with their sources; secrets are hidden."""
    lines = []
    for each in effective:
        value = " ".join(each.value) if isinstance(each.value, tuple) else each.value
        if each.setting.secret and each.value:
            value = _HIDDEN
        text = str(value).lower() if isinstance(value, bool) else str(value)
        lines.append(f"{each.setting.variable}={text}")
    width = max(map(len, lines))
    return "\n".join(
        f"{line:{width}}  # {each.source}" for line, each in zip(lines, effective, strict=True)
    )


def documents(effective: list[Effective]) -> list[dict[str, Any]]:
    """The settings as JSON objects; secrets are hidden."""
    return [
        {
            "name": each.setting.name,
            "variable": each.setting.variable,
            "value": _HIDDEN if each.setting.secret and each.value else each.value,
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
    keys: Keys = field(default_factory=lambda: Keys({}))


def read_files(config: GatewayConfig) -> Files:
    """Read the routes file and the API keys, at start and on SIGHUP.

    Raises:
        FilesError: one cannot be used.
    """
    try:
        routes = read_routes(Path(config.routes)) if config.routes else Routes()
        keys = parse_keys(config.api_keys)
        if config.api_keys_file:
            keys |= read_keys(Path(config.api_keys_file))
        return Files(routes, Keys(keys, config.rate_limit))
    except (RoutesError, KeysError) as error:
        raise FilesError(str(error)) from error
