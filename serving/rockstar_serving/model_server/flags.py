"""The command line: TensorFlow Serving's flags, from a table made of the options."""

import argparse
import difflib
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from rockstar_serving.logs import LogFormat
from rockstar_serving.model_server.batching.parameters import (
    FIELDS,
    POOL_FIELDS,
    BatchingParameters,
    read_parameters,
)
from rockstar_serving.model_server.models.config import ModelConfig
from rockstar_serving.model_server.models.config_file import model_config, read_config_file
from rockstar_serving.model_server.options import (
    ANY_PORT,
    DEFAULT_CACHE,
    BatchingOptions,
    EngineOptions,
    Flag,
    GrpcOptions,
    InferenceOptions,
    Kind,
    LoadOptions,
    MonitoringOptions,
    RestOptions,
    ServerOptions,
    TlsOptions,
    WarmupOptions,
)
from tfs_api.services import TENSORFLOW_SERVING_VERSION

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Options = TypeVar("Options", bound=DataclassInstance)

log = logging.getLogger(__name__)

PROGRAM = "model_server"

_NO_XLA = "models are not compiled by XLA"
_NO_PLATFORM = "its settings have flags of their own"
# Flags of TensorFlow Serving that are accepted and have no effect, with the reason.
IGNORED = {
    "enable_profiler": "there is no profiler service",
    "flush_filesystem_caches": "the operating system manages its caches",
    "mixed_precision": "models run in the precision in which they were saved",
    "platform_config_file": _NO_PLATFORM,
    "remove_unused_fields_from_bundle_metagraph": "TensorFlow keeps only what it needs of a graph",
    "skip_initialize_tpu": "there is no TPU to initialize",
    "tensorflow_session_config_file": _NO_PLATFORM,
    "thread_pool_factory_config_file": "threads are set by the parallelism flags",
    "xla_cpu_compilation_enabled": _NO_XLA,
    "xla_gpu_compilation_enabled": _NO_XLA,
}


@dataclass(frozen=True)
class Flags:
    """The result of parsing a command line.

    Attributes:
        options: of the server.
        address_file: file for the addresses of the running server, if any.
    """

    options: ServerOptions
    address_file: Path | None


class FlagParser(argparse.ArgumentParser):
    """An argument parser with error messages of two lines that suggest the nearest flag.

    Attributes:
        names: of all flags, without dashes.
    """

    def __init__(self, program: str) -> None:
        super().__init__(
            prog=program,
            allow_abbrev=False,
            usage="%(prog)s --model_base_path=FOLDER [--flag=value …]",
            description="Serve models over TensorFlow Serving's gRPC and REST API.",
            epilog="Flags are those of tensorflow_model_server, except --host, --address_file, "
            "--rest_api_max_body_bytes, --require_all_models, --wait_for_models, "
            "--model_cache_path, --litert_on_demand, --enable_grpc_reflection, --log_format and "
            "the port 'auto'. Defaults are in parentheses.",
        )
        self.names = ["help"]
        version = "print the version, and which TensorFlow Serving's API it follows, and exit"
        self._add(self.add_argument, [Flag("version", "switch", version, False)])
        for title, flags in _groups():
            self._add(self.add_argument_group(title).add_argument, flags)
        _add_log_format(self)
        ignored = self.add_argument_group("accepted without effect")
        for name, reason in IGNORED.items():
            ignored.add_argument(f"--{name}", nargs="?", const="true", metavar="VALUE", help=reason)
        self.names += ["log_format", *IGNORED]

    def _add(self, add_argument: Callable[..., Any], flags: Iterable[Flag]) -> None:
        for flag in flags:
            parse, unit = _KINDS[flag.kind]
            # A switch is true if its name stands alone.
            switch: dict[str, Any] = {"nargs": "?", "const": True} if flag.kind == "switch" else {}
            add_argument(
                f"--{flag.name}",
                type=parse,
                metavar=unit,
                default=flag.default,
                help=flag.help,
                **switch,
            )
            self.names.append(flag.name)

    def error(self, message: str) -> NoReturn:
        """End the process with status 2 and a message."""
        self.exit(2, f"{self.prog}: {message}\n{self.prog}: --help lists the flags\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """End the process because of unknown arguments, suggesting a flag for each."""
        messages = []
        for argument in unknown:
            if not argument.startswith("-"):
                messages.append(f"expected a flag, got {argument!r}")
                continue
            name = argument.partition("=")[0]  # the value may be a secret
            near = difflib.get_close_matches(name.lstrip("-").replace("-", "_"), self.names, n=1)
            hint = f": did you mean --{near[0]}?" if near else ""
            messages.append(f"unknown flag {name}{hint}")
        self.error("; ".join(messages))


def parse_flags(arguments: Sequence[str], program: str = PROGRAM) -> Flags:
    """Parse a command line; invalid flags end the process with status 2 and a message.

    Args:
        arguments: the flags.
        program: name of the program in messages.

    Raises:
        ConfigError: a file named by a flag, or a base path, is invalid.
    """
    parser = FlagParser(program)
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.refuse(unknown)
    if given.version:
        sys.stdout.write(_version_text())
        parser.exit()
    # An empty value, which templates of manifests write, counts as not given.
    ignored = [name for name in IGNORED if getattr(given, name)]
    if ignored:
        reasons = "; ".join(f"--{name} ({IGNORED[name]})" for name in ignored)
        log.warning("flags of TensorFlow Serving without effect here: %s", reasons)
    _check(given, parser)
    intra = given.tensorflow_intra_op_parallelism
    inter = given.tensorflow_inter_op_parallelism
    if not intra and not inter:
        intra = inter = given.tensorflow_session_parallelism
    options = ServerOptions(
        models=_models(given),
        host=given.host.removeprefix("[").removesuffix("]"),
        grpc=_make(GrpcOptions, given, tls=_tls(given.ssl_config_file)),
        rest=_make(RestOptions, given),
        load=_make(LoadOptions, given, cache_path=given.model_cache_path or DEFAULT_CACHE),
        engine=_make(EngineOptions, given, intra_op_threads=intra, inter_op_threads=inter),
        batching=_make(BatchingOptions, given, parameters=_batching_parameters(given)),
        inference=_make(InferenceOptions, given),
        warmup=_make(WarmupOptions, given),
        monitoring=_monitoring(given),
    )
    return Flags(options, given.address_file)


def log_format(arguments: Sequence[str]) -> LogFormat:
    """Find the log format in a command line that may have errors elsewhere."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    _add_log_format(parser)
    try:
        given, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        return "text"  # parse_flags() reports the error
    found: LogFormat = given.log_format
    return found


def _groups() -> Iterable[tuple[str, list[Flag]]]:
    ready = "when ready, write the addresses and the process id to this file, as JSON"
    yield "network", [*_flags(ServerOptions), Flag("address_file", "path", ready)]
    alts = Flag("use_alts_credentials", "switch", "refused: use --ssl_config_file (false)", False)
    yield "gRPC", [*_flags(GrpcOptions), alts]
    yield "REST", _flags(RestOptions)
    base_path = "folder with version folders, such as models/cnn or s3://bucket/models/cnn"
    yield (
        "models",
        [
            Flag("model_name", "text", "name of the model (%(default)s)", "default"),
            Flag("model_base_path", "text", base_path),
            *_flags(LoadOptions),
            *_flags(WarmupOptions),
        ],
    )
    both = "sets both --tensorflow_*_op_parallelism flags, if neither is given"
    parallelism = Flag("tensorflow_session_parallelism", "count", both, 0)
    yield "runtime", [*_flags(EngineOptions), parallelism]
    yield "batching", _flags(BatchingOptions)
    yield "inference", _flags(InferenceOptions)
    yield "monitoring", _flags(MonitoringOptions)


def _flags(kind: "type[DataclassInstance]") -> list[Flag]:
    return [field.metadata["flag"] for field in fields(kind) if "flag" in field.metadata]


def _make(kind: "type[Options]", given: argparse.Namespace, **values: Any) -> "Options":
    """Make options of the values of their flags, except those given here."""
    for field in fields(kind):
        if "flag" in field.metadata:
            values.setdefault(field.name, getattr(given, field.metadata["flag"].name))
    return kind(**values)


def _add_log_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("logging").add_argument(
        "--log_format",
        choices=["text", "json"],
        default="text",
        help="format of log lines on standard error: text, or one JSON object per line "
        "(%(default)s)",
    )


def _version_text() -> str:
    # Imported here, because it takes ten milliseconds.
    from importlib.metadata import PackageNotFoundError, version

    try:
        ours = version("rockstartf")
    except PackageNotFoundError:  # run from a checkout that is not installed
        ours = "of a checkout"
    return (
        f"RockstarTF model server: {ours}\n"
        f"API of TensorFlow Serving: {TENSORFLOW_SERVING_VERSION}\n"
    )


def _check(given: argparse.Namespace, parser: FlagParser) -> None:
    """End the process if flags contradict each other or need something that does not exist."""
    if given.port is None and given.rest_api_port is None and given.grpc_socket_path is None:
        parser.error(
            "--port and --rest_api_port are both 0 (off), and there is no --grpc_socket_path: "
            "nothing to listen on"
        )
    if given.port and given.port == given.rest_api_port:
        parser.error(f"--port and --rest_api_port are both {given.port}: they must differ")
    if given.use_alts_credentials:
        parser.error("--use_alts_credentials: there is no ALTS here; use --ssl_config_file")
    # As in TensorFlow Serving the file wins: its container always passes a base path too.
    if given.model_config_file is None:
        if not given.model_base_path:
            parser.error("--model_base_path or --model_config_file is needed")
        if not given.model_name:
            parser.error("--model_name: expected a name, got ''")
    # The rules of TensorFlow Serving (server.cc).
    intra, inter = given.tensorflow_intra_op_parallelism, given.tensorflow_inter_op_parallelism
    if given.tensorflow_session_parallelism and intra and inter:
        parser.error(
            "--tensorflow_session_parallelism cannot be given together with "
            "--tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism"
        )
    if given.batching_parameters_file is not None and not given.enable_batching:
        parser.error(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true. Add --enable_batching."
        )


def _models(given: argparse.Namespace) -> tuple[ModelConfig, ...]:
    if given.model_config_file is not None:
        return read_config_file(given.model_config_file)
    return (model_config(given.model_name, given.model_base_path),)


def _tls(file: Path | None) -> TlsOptions | None:
    if file is None:
        return None
    from rockstar_serving.model_server.tls import read_ssl_config  # loads OpenSSL

    return read_ssl_config(file)


def _batching_parameters(given: argparse.Namespace) -> BatchingParameters:
    per_model = given.enable_per_model_batching_parameters
    if per_model and not given.enable_batching:
        log.warning(
            "--enable_per_model_batching_parameters is without effect: no --enable_batching"
        )
    if given.batching_parameters_file is None:
        # TensorFlow Serving's name of the threads without a file.
        return BatchingParameters(thread_pool_name="model_server_batch_threads")
    return read_parameters(given.batching_parameters_file, POOL_FIELDS if per_model else FIELDS)


def _monitoring(given: argparse.Namespace) -> MonitoringOptions:
    if given.monitoring_config_file is None:
        return MonitoringOptions()
    if given.rest_api_port is None:
        # The file is not even read, as in TensorFlow Serving.
        log.warning("--monitoring_config_file is without effect: no --rest_api_port")
        return MonitoringOptions()
    # Loads prometheus_client.
    from rockstar_serving.model_server.monitoring import read_monitoring_config

    return read_monitoring_config(given.monitoring_config_file)


def _port(text: str) -> int | None:
    """A port number; None for 0 (off), ANY_PORT for `auto`."""
    if text == "auto":
        return ANY_PORT
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535 or auto, got {text!r}")
    return int(text) or None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def _clamped_count(text: str) -> int:
    """A whole number; less than 0 counts as 0, as in TensorFlow Serving."""
    return 0 if text.startswith("-") and text[1:].isdecimal() else _count(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text!r}")
    return int(text)


def _microseconds(text: str) -> float:
    """Whole microseconds, as seconds; less than 0 counts as 0, as in TensorFlow Serving."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise argparse.ArgumentTypeError(f"expected whole microseconds, got {text!r}")
    return max(0, int(text)) / 1e6


def _seconds(text: str) -> float:
    """A time in seconds; less than 0 counts as 0."""
    try:
        value = float(text)
    except ValueError:
        value = float("inf")
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, got {text!r}")
    return max(0.0, value)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, got {text!r}")
    return value


def _tags(text: str) -> frozenset[str]:
    found = frozenset(name.strip() for name in text.split(",")) - {""}
    if not found:
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return found


def _boolean(text: str) -> bool:
    values = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}") from None


def _channel_arguments(text: str) -> dict[str, int | str]:
    """Arguments of a gRPC channel, `name=value,name=value`; int if the value is an int32."""
    found: dict[str, int | str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or not equals:
            raise argparse.ArgumentTypeError(f"expected name=value,name=value, got {part!r}")
        digits = value.removeprefix("-")
        is_number = digits.isascii() and digits.isdigit() and -(2**31) <= int(value) < 2**31
        found[name] = int(value) if is_number else value
    return found


def _path(text: str) -> Path | None:
    """A path or its file:// URL; None for an empty text, which scripts write for no file."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "file":
        return Path(rest)
    if separator and scheme.isalnum():
        raise argparse.ArgumentTypeError(f"expected a path on this machine, got {text!r}")
    return Path(text) if text else None


# How values are parsed, and their unit in the help; None: the name of the flag.
_KINDS: dict[Kind, tuple[Callable[[str], Any], str | None]] = {
    "channel arguments": (_channel_arguments, "NAME=VALUE,…"),
    "clamped count": (_clamped_count, "N"),
    "count": (_count, "N"),
    "microseconds": (_microseconds, "MICROSECONDS"),
    "milliseconds": (lambda text: _clamped_count(text) / 1000 or None, "MS"),
    "path": (_path, "PATH"),
    "port": (_port, "PORT"),
    "positive": (_positive, "N"),
    "repetitions": (lambda text: _clamped_count(text) or 1, "N"),
    "seconds": (_seconds, "SECONDS"),
    "share": (_share, "SHARE"),
    "switch": (_boolean, "BOOL"),
    "tags": (_tags, "TAG,TAG"),
    "text": (str, None),
}
