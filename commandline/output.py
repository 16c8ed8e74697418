"""What commands write: results to standard output, everything else to standard error."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from commandline.failures import Failure

_LONGEST_LINE = 1000


def color_wanted(environment: Mapping[str, str] = os.environ) -> bool | None:
    """Whether to write colours; None leaves it to whether a terminal reads.

    NO_COLOR (https://no-color.org) goes before FORCE_COLOR.
    """
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return False if environment.get("TERM") == "dumb" else None


def echo_json(document: Any) -> None:
    """Write a document on one line, at once; NaN and infinity, which JSON has not, as null."""
    import msgspec  # here, because help does without

    click.echo(msgspec.json.encode(document))
    sys.stdout.flush()


def printable(text: str) -> str:
    r"""A text as a terminal may get it: what is no sign, such as ESC, becomes \x1b."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def echo_failure(failure: Failure) -> None:
    """Write what went wrong in one line, and where to read on in another."""
    line = printable(" ".join(failure.message.split()))
    if len(line) > _LONGEST_LINE:
        line = f"{line[:_LONGEST_LINE]}…"
    click.echo(
        f"{click.style('Error:', fg='red', bold=True)} {line}", err=True, color=color_wanted()
    )
    if failure.hint:
        click.echo(failure.hint, err=True)


def echo_step(text: str) -> None:
    """Say what a long command is about to do, on standard error."""
    click.echo(text, err=True)


def progress_shown() -> bool:
    """Whether somebody sees a bar that moves."""
    return sys.stderr.isatty()
