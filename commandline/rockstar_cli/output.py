"""Output and exit codes of commands: results, tables, progress and errors.

Results go to standard output, progress and errors to standard error.
"""

import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import click

from rockstar_contract.text_files import utf8_name

_LONGEST_LINE = 1000
# Between columns of a table; and the width below which no column is cut.
_GAP, _NARROWEST = "  ", 8
_LINE_EVERY_S = 10.0


class Exit(IntEnum):
    """Exit codes; docs/command-line.md lists them."""

    OK = 0
    FAILED = 1  # the command failed, or a check did
    USAGE = 2  # wrong arguments, options or settings
    UNREACHABLE = 3  # the service is unreachable, overloaded or too slow
    SOME_FAILED = 4  # some items failed, the others succeeded
    INTERRUPTED = 130  # Ctrl-C
    BROKEN_PIPE = 141  # the reader of the output is gone, as in `| head -1`


# Optional packages by the extra that installs them.
_EXTRAS = {
    "serve": (
        *("ai_edge_litert", "google_crc32c", "grpc_health", "grpc_reflection", "httptools"),
        "uvicorn",
    ),
    "train": ("jinja2", "keras", "matplotlib", "sklearn", "tensorflow", "tensorflow_serving"),
    "parquet": ("pyarrow",),
    "ray": ("ray",),
    "spark": ("pyspark",),
    "notebook": ("jupyterlab", "rockstar_notebooks"),
    "otel": ("opentelemetry",),
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
    """Return the error to print for an exception that ended a command."""
    if isinstance(error, click.UsageError):
        more = f"{error.ctx.command_path} --help lists arguments and options." if error.ctx else ""
        return Failure(error.format_message(), Exit.USAGE, more)
    if isinstance(error, click.ClickException):
        return Failure(error.format_message(), error.exit_code)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, names in _EXTRAS.items() if package in names), None)
        if extra is not None:
            install = f"pip install 'rockstartf[{extra}]', or in a checkout pip install"
            return Failure(f"this needs {error.name}: {install} '.[{extra}]'", Exit.FAILED)
    if isinstance(error, OSError) and error.filename is not None:
        return Failure(_file_error(error), Exit.FAILED)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        full = "the disk is full where the output or a temporary file (TMPDIR) goes: make room"
        return Failure(full, Exit.FAILED)
    code = _known_code(error)
    if code is None:
        # The message of a foreign exception may be empty, so name its type.
        message = f"unexpected {type(error).__name__}: {error}"
        return Failure(message, Exit.FAILED, "Set ROCKSTAR_DEBUG=1 to see where it happened.")
    message = str(error)
    for python, option in _OPTION_HINTS.items():
        message = message.replace(python, option)
    return Failure(message, code)


def _known_code(error: Exception) -> Exit | None:
    """Return the exit code of an exception with a message for users; None for any other."""
    # Here, to keep help fast.
    from rockstar_client import CallError, DeadlineExceededError, OverloadedError, UnavailableError
    from rockstar_client.bulk import BulkError
    from rockstar_contract.errors import InvalidInputError
    from rockstar_serving import ServeError
    from rockstar_serving.model_folder import ModelFolderError
    from rockstar_training.errors import ConfigError, TrainingError

    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, (UnavailableError, OverloadedError, DeadlineExceededError)):
        return Exit.UNREACHABLE
    failed = (BulkError, CallError, InvalidInputError, ModelFolderError, ServeError, TrainingError)
    return Exit.FAILED if isinstance(error, failed) else None


def _file_error(error: OSError) -> str:
    why = error.strerror or type(error).__name__
    if isinstance(error, PermissionError):
        return f"{error.filename}: {why}; change its permissions, or name another place"
    if isinstance(error, IsADirectoryError):
        return f"{error.filename}: {why}; name a file"
    if isinstance(error, FileNotFoundError):
        return f"{error.filename}: no such file or folder"
    return f"{error.filename}: {why}; name another place"


def echo_failure(failure: Failure) -> None:
    """Print an error in one line, and its hint in another."""
    line = printable(" ".join(failure.message.split()))
    if len(line) > _LONGEST_LINE:
        line = f"{line[:_LONGEST_LINE]}…"
    start = click.style("Error:", fg="red", bold=True)
    click.echo(f"{start} {line}", err=True, color=color_wanted())
    if failure.hint:
        click.echo(failure.hint, err=True)


def color_wanted() -> bool | None:
    """Decide whether to use colors; None lets click decide, by whether output is a terminal.

    NO_COLOR (https://no-color.org) takes precedence over FORCE_COLOR.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") == "dumb" else None


def echo_json(document: Any) -> None:
    """Print a document as one line of JSON and flush; NaN and infinity become null."""
    import msgspec  # here, to keep help fast

    try:
        text = msgspec.json.encode(document)
    except UnicodeEncodeError:  # names of files that are not UTF-8
        text = msgspec.json.encode(_escape_names(msgspec.to_builtins(document)))
    click.echo(text)
    sys.stdout.flush()


def _escape_names(value: Any) -> Any:
    if isinstance(value, str):
        return utf8_name(value)
    if isinstance(value, dict):
        return {_escape_names(name): _escape_names(each) for name, each in value.items()}
    return [_escape_names(each) for each in value] if isinstance(value, (list, tuple)) else value


def printable(text: str) -> str:
    r"""Escape control characters, such as ESC as \x1b, which are not safe on a terminal."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def table(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), width: int | None = None
) -> str:
    """Align rows of cells in columns; the first row is the header.

    `right` are the columns to align right. A width of None is the terminal's width, or no limit
    without a terminal. The last column is cut first, then the widest one.
    """
    if width is None and sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        for place in (len(widths) - 1, max(range(len(widths)), key=widths.__getitem__)):
            excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
            if excess > 0:
                widths[place] = max(min(_NARROWEST, widths[place]), widths[place] - excess)
    lines = []
    for row in rows:
        cells = []
        for place, (cell, size) in enumerate(zip(row, widths, strict=True)):
            cut = cell if len(cell) <= size else f"{cell[: size - 1]}…"
            cells.append(cut.rjust(size) if place in right else cut.ljust(size))
        lines.append(_GAP.join(cells).rstrip())
    return "\n".join(lines)


class Progress:
    """Progress of a run of items: a bar on a terminal, else a line every few seconds."""

    def __init__(self, count: Callable[[], int | None]) -> None:
        """Make one; `count` returns the number of items, if known, and runs in its own thread."""
        self._count = count
        self._began: tuple[float, int] | None = None
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no monitor thread
        options: dict[str, Any] = {"dynamic_ncols": True, "smoothing": 0.1, "leave": False}
        # Disabled if standard error is no terminal.
        self._bar = tqdm(unit=" items", disable=None, **options)
        if not self._bar.disable:
            threading.Thread(target=self._find_total, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, items: int, failed: int) -> None:
        """Show how many items are done, and how many of them failed."""
        if self._began is None:
            # Items of an earlier run do not count for the rate.
            self._began = (time.monotonic(), items)
            self._bar.initial = self._bar.n = items
        if not self._bar.disable:
            self._bar.set_postfix_str(f"{failed:,} failed" if failed else "", refresh=False)
            self._bar.update(items - self._bar.n)
        elif time.monotonic() - self._printed > _LINE_EVERY_S:
            self._printed = time.monotonic()
            started, before = self._began
            rate = (items - before) / max(1e-9, time.monotonic() - started)
            click.echo(f"{items:,} items, {failed:,} failed, {rate:,.0f} items/s", err=True)

    def _find_total(self) -> None:
        self._bar.total = self._count()
