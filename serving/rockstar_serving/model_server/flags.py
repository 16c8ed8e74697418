"""The command line: TensorFlow Serving's flags, from the table of options."""

import argparse
import difflib
import logging
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from rockstar_serving import installed_version
from rockstar_serving.model_server.batching_parameters import (
    FIELDS,
    POOL_FIELDS,
    BatchingParameters,
    read_parameters,
)
from rockstar_serving.model_server.models.config import model_config, read_config_file
from rockstar_serving.model_server.options import (
    COUNT,
    DEFAULT_CACHE,
    BatchingOptions,
    EngineOptions,
    GrpcOptions,
    InferenceOptions,
    LoadOptions,
    MonitoringOptions,
    RestOptions,
    ServerOptions,
    WarmupOptions,
)
from rockstar_serving.options import SWITCH, TEXT, Option, OptionError, as_text, choice, options_of
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
_LOG_FORMAT = "format of log lines on standard error: text, or one JSON object per line"
_VERSION = "print the version, and which TensorFlow Serving's API it follows, and exit"
_BASE_PATH = "folder with version folders, such as models/cnn or s3://bucket/models/cnn"
_PARALLELISM = "sets both --tensorflow_*_op_parallelism flags, if neither is given"


def _groups() -> dict[str, list[Option]]:
    return {
        "process": [
            Option("version", SWITCH, False, _VERSION),
            Option("log_format", choice("text", "json"), "text", _LOG_FORMAT),
            *options_of(ServerOptions),
        ],
        "gRPC": [
            *options_of(GrpcOptions),
            Option("use_alts_credentials", SWITCH, False, "refused: use --ssl_config_file"),
        ],
        "REST": [*options_of(RestOptions)],
        "models": [
            Option("model_name", TEXT, "default", "name of the model"),
            Option("model_base_path", TEXT, None, _BASE_PATH),
            *options_of(LoadOptions),
            *options_of(WarmupOptions),
        ],
        "runtime": [
            *options_of(EngineOptions),
            Option("tensorflow_session_parallelism", COUNT, 0, _PARALLELISM),
        ],
        "batching": [*options_of(BatchingOptions)],
        "inference": [*options_of(InferenceOptions)],
        "monitoring": [*options_of(MonitoringOptions)],
    }


class FlagParser(argparse.ArgumentParser):
    """An argument parser with error messages of two lines that suggest the nearest flag."""

    def __init__(self, program: str) -> None:
        super().__init__(
            prog=program,
            allow_abbrev=False,
            usage="%(prog)s --model_base_path=FOLDER [--flag=value …]",
            description="Serve models over TensorFlow Serving's gRPC and REST API.",
            epilog="Flags are those of tensorflow_model_server, except --host, --address_file, "
            "--rest_api_max_body_bytes, --require_all_models, --wait_for_models, "
            "--model_cache_path, --litert_on_demand, --enable_grpc_reflection, "
            "--allow_config_reload_from, --log_format and the port 'auto'. "
            "Defaults are in parentheses.",
        )
        self.names = ["help", *IGNORED]  # without dashes
        for title, options in _groups().items():
            group = self.add_argument_group(title)
            for each in options:
                _add(group, each)
                self.names.append(each.flag)
        ignored = self.add_argument_group("accepted without effect")
        for name, reason in IGNORED.items():
            ignored.add_argument(f"--{name}", nargs="?", const="true", metavar="VALUE", help=reason)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; invalid flags end the process with status 2 and a message."""
        given, unknown = self.parse_known_args(arguments)
        if unknown:
            self.error("; ".join(map(self._hint, unknown)))
        if given.version:
            sys.stdout.write(
                f"RockstarTF model server: {installed_version() or 'of a checkout'}\n"
                f"API of TensorFlow Serving: {TENSORFLOW_SERVING_VERSION}\n"
            )
            self.exit()
        _check(given, self.error)
        return given

    def error(self, message: str) -> NoReturn:
        """End the process with status 2 and a message."""
        self.exit(2, f"{self.prog}: {message}\n{self.prog}: --help lists the flags\n")

    def _hint(self, unknown: str) -> str:
        if not unknown.startswith("-"):
            return f"expected a flag, got {unknown!r}"
        name = unknown.partition("=")[0]  # the value may be a secret
        near = difflib.get_close_matches(name.lstrip("-").replace("-", "_"), self.names, n=1)
        return f"unknown flag {name}" + (f": did you mean --{near[0]}?" if near else "")


def _add(arguments: Any, option: Option) -> None:
    """Add an option to a parser or a group of arguments."""

    def parse(text: str) -> Any:
        try:
            return option.parse(text)
        except OptionError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    text = option.help.removesuffix(".")
    if option.default not in (None, "") and not text.endswith(")"):
        text = f"{text} ({as_text(option.default)})"
    # A switch is true if its name stands alone.
    switch: dict[str, Any] = {"nargs": "?", "const": True} if option.values is SWITCH else {}
    arguments.add_argument(
        f"--{option.flag}",
        type=parse,
        metavar=option.values.unit,
        default=option.default,
        help=text,
        **switch,
    )


def server_options(given: argparse.Namespace) -> ServerOptions:
    """Make options of flags, and read the files that they name; raises ConfigError."""
    # An empty value, which templates of manifests write, counts as not given.
    ignored = [name for name in IGNORED if getattr(given, name)]
    if ignored:
        reasons = "; ".join(f"--{name} ({IGNORED[name]})" for name in ignored)
        log.warning("flags of TensorFlow Serving without effect here: %s", reasons)
    if given.model_config_file is not None:
        models = read_config_file(given.model_config_file)
    else:
        models = (model_config(given.model_name, given.model_base_path),)
    tls = None
    if given.ssl_config_file is not None:
        from rockstar_serving.model_server.grpc_server import read_ssl_config  # loads gRPC

        tls = read_ssl_config(given.ssl_config_file)
    intra, inter = given.tensorflow_intra_op_parallelism, given.tensorflow_inter_op_parallelism
    if not intra and not inter:
        intra = inter = given.tensorflow_session_parallelism
    return ServerOptions(
        models=models,
        host=given.host.removeprefix("[").removesuffix("]"),
        address_file=given.address_file,
        grpc=_make(GrpcOptions, given, tls=tls),
        rest=_make(RestOptions, given),
        load=_make(LoadOptions, given, cache_path=given.model_cache_path or DEFAULT_CACHE),
        engine=_make(EngineOptions, given, intra_op_threads=intra, inter_op_threads=inter),
        batching=_make(BatchingOptions, given, parameters=_batching_parameters(given)),
        inference=_make(InferenceOptions, given),
        warmup=_make(WarmupOptions, given),
        monitoring=_monitoring(given),
    )


def _make(kind: "type[Options]", given: argparse.Namespace, **values: Any) -> "Options":
    """Make options of the values of their flags, except those given here."""
    return kind(**{each.name: getattr(given, each.flag) for each in options_of(kind)} | values)


def _check(given: argparse.Namespace, fail: Callable[[str], NoReturn]) -> None:
    """Fail if flags contradict each other or need something that does not exist."""
    if given.port is None and given.rest_api_port is None and given.grpc_socket_path is None:
        fail(
            "--port and --rest_api_port are both 0 (off), and there is no --grpc_socket_path: "
            "nothing to listen on"
        )
    if given.port and given.port == given.rest_api_port:
        fail(f"--port and --rest_api_port are both {given.port}: they must differ")
    if given.use_alts_credentials:
        fail("--use_alts_credentials: there is no ALTS here; use --ssl_config_file")
    # As in TensorFlow Serving the file wins: its container always passes a base path too.
    if given.model_config_file is None:
        if not given.model_base_path:
            fail("--model_base_path or --model_config_file is needed")
        if not given.model_name:
            fail("--model_name: expected a name, got ''")
    # The rules of TensorFlow Serving (server.cc).
    intra, inter = given.tensorflow_intra_op_parallelism, given.tensorflow_inter_op_parallelism
    if given.tensorflow_session_parallelism and intra and inter:
        fail(
            "--tensorflow_session_parallelism cannot be given together with "
            "--tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism"
        )
    if given.batching_parameters_file is not None and not given.enable_batching:
        fail(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true. Add --enable_batching."
        )


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
    from rockstar_serving.model_server import monitoring  # loads prometheus_client

    return monitoring.read_monitoring_config(given.monitoring_config_file)
