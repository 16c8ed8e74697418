"""Errors of commands: one line for people, and an exit code for scripts."""

import errno
from dataclasses import dataclass
from enum import IntEnum

import click


class Exit(IntEnum):
    """Exit codes; docs/command-line.md lists them."""

    OK = 0
    FAILED = 1  # the command failed, or a check did
    USAGE = 2  # wrong arguments, options or settings
    UNREACHABLE = 3  # the service is unreachable, overloaded or too slow
    SOME_FAILED = 4  # some items failed, the others succeeded
    INTERRUPTED = 130  # Ctrl-C
    BROKEN_PIPE = 141  # the reader of the output is gone, as in `| head -1`


# Optional packages, and the extra that installs each.
_EXTRAS = {
    "ai_edge_litert": "serve",
    "google_crc32c": "serve",
    "grpc_health": "serve",
    "grpc_reflection": "serve",
    "httptools": "serve",
    "jinja2": "train",
    "keras": "train",
    "matplotlib": "train",
    "opentelemetry": "otel",
    "pyarrow": "parquet",
    "sklearn": "train",
    "tensorflow": "train",
    "tensorflow_serving": "train",
    "uvicorn": "serve",
}

# Hints of the Python clients, and the command-line option to suggest instead; first match wins.
_OPTION_HINTS = {
    "give the client its api_key=": "give --api-key, or ROCKSTAR_API_KEY",
    "give a key as api_key=, anything else in headers=": "give a key as --api-key",
    "see tls=Tls(ca=…)": "name its certificate with --ca",
    "see tls=": "see --ca",
}


@dataclass(frozen=True)
class Failure:
    """An error for the user: the message with a fix, the exit code, and where to read more."""

    message: str
    code: int
    hint: str = ""


def failure_of(error: Exception) -> Failure:
    """The error to print for an exception that ended a command."""
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
    code = _known_code(error)
    if code is not None:
        return Failure(_in_options(str(error)), code)
    # The message of a foreign exception may be empty, so name its type.
    words = f"unexpected {type(error).__name__}: {error}"
    return Failure(words, Exit.FAILED, "Set ROCKSTAR_DEBUG=1 to see where it happened.")


def needs(package: str, extra: str) -> str:
    """The message for a missing package."""
    return (
        f"this needs {package}: pip install 'rockstartf[{extra}]', or in a checkout "
        f"pip install '.[{extra}]'"
    )


def _in_options(message: str) -> str:
    for python, option in _OPTION_HINTS.items():
        message = message.replace(python, option)
    return message


def _of_click(error: click.ClickException) -> Failure:
    if not isinstance(error, click.UsageError):
        return Failure(error.format_message(), error.exit_code)
    where = (
        "" if error.ctx is None else f"{error.ctx.command_path} --help lists arguments and options."
    )
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


def _known_code(error: Exception) -> Exit | None:
    """The exit code of an exception with a message for users; None for any other exception."""
    from rockstar_client.bulk.state import BulkError
    from rockstar_client.errors import (
        CallError,
        DeadlineExceededError,
        OverloadedError,
        UnavailableError,
    )
    from rockstar_contract.errors import InvalidInputError
    from rockstar_serving.model_folder import ModelFolderError
    from rockstar_serving.supervisor import ServeError
    from rockstar_training.errors import ConfigError, TrainingError

    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, (UnavailableError, OverloadedError, DeadlineExceededError)):
        return Exit.UNREACHABLE
    if isinstance(error, (BulkError, CallError, InvalidInputError, ModelFolderError)):
        return Exit.FAILED
    return Exit.FAILED if isinstance(error, (ServeError, TrainingError)) else None
