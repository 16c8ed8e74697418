"""What went wrong: a line for people and an exit code for scripts, in one place for all."""

import errno
from dataclasses import dataclass

import click

from commandline.exits import Exit

# Packages that not every installation has, and the extra that brings them.
_EXTRAS = {
    "ai_edge_litert": "serve",
    "google_crc32c": "serve",
    "grpc_health": "serve",
    "grpc_reflection": "serve",
    "jinja2": "train",
    "keras": "train",
    "matplotlib": "train",
    "opentelemetry": "otel",
    "pyarrow": "parquet",
    "simdjson": "serve",
    "sklearn": "train",
    "tensorflow": "train",
    "tensorflow_serving": "train",
    "waitress": "serve",
}

# What the clients say to those who write Python, and what it is called here; the first that fit.
_CALLED = {
    "give the client its api_key=": "give --api-key, or ROCKSTAR_API_KEY",
    "give a key as api_key=, anything else in headers=": "give a key as --api-key",
    "see tls=Tls(ca=…)": "name its certificate with --ca",
    "see tls=": "see --ca",
}


@dataclass(frozen=True)
class Failure:
    """What to tell: why and how to mend it, where to read on, and the exit code."""

    message: str
    code: int
    hint: str = ""


def failure_of(error: Exception) -> Failure:
    """What to tell of an exception that ended a command."""
    if isinstance(error, click.ClickException):
        return _of_click(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = _EXTRAS.get(error.name.partition(".")[0])
        if extra:
            return Failure(needs(error.name, extra), Exit.FAILED)
    if isinstance(error, OSError) and error.filename is not None:
        return Failure(_of_file(error), Exit.FAILED)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        words = "the disk is full where the output or a temporary file (TMPDIR) goes: make room"
        return Failure(words, Exit.FAILED)
    code = _code_of_ours(error)
    if code is not None:
        return Failure(_in_options(str(error)), code)
    # Somebody else's sentence may span lines and say nothing: the kind of error always does.
    words = f"unexpected {type(error).__name__}: {error}"
    return Failure(words, Exit.FAILED, "With ROCKSTAR_DEBUG=1 it shows where that happened.")


def needs(package: str, extra: str) -> str:
    """That a package is missing, and what installs it."""
    return (
        f"this needs {package}: pip install 'rockstartf[{extra}]', or in a checkout "
        f"pip install '.[{extra}]'"
    )


def _in_options(message: str) -> str:
    for python, option in _CALLED.items():
        message = message.replace(python, option)
    return message


def _of_click(error: click.ClickException) -> Failure:
    if not isinstance(error, click.UsageError):
        return Failure(error.format_message(), error.exit_code)
    where = "" if error.ctx is None else f"{error.ctx.command_path} --help shows what there is."
    return Failure(error.format_message(), Exit.USAGE, where)


def _of_file(error: OSError) -> str:
    why = error.strerror or type(error).__name__
    if isinstance(error, PermissionError):
        return f"{error.filename}: {why}; change its permissions, or name another place"
    if isinstance(error, IsADirectoryError):
        return f"{error.filename}: {why}; name a file"
    if isinstance(error, FileNotFoundError):
        return f"{error.filename}: no such file or folder"
    return f"{error.filename}: {why}; name another place"


def _code_of_ours(error: Exception) -> Exit | None:
    """The exit code of an exception whose message is meant for the user; None is not ours."""
    from clients.bulk.errors import BulkError
    from clients.errors import CallError, DeadlineExceededError, OverloadedError, UnavailableError
    from serving.errors import InvalidInputError
    from serving.model_folder import ModelFolderError
    from serving.supervisor import ServeError
    from training.errors import ConfigError, TrainingError

    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, (UnavailableError, OverloadedError, DeadlineExceededError)):
        return Exit.UNREACHABLE
    if isinstance(error, (BulkError, CallError, InvalidInputError, ModelFolderError)):
        return Exit.FAILED
    return Exit.FAILED if isinstance(error, (ServeError, TrainingError)) else None
