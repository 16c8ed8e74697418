"""The group of all commands: imports each when it is used, and ends it with one line and a code."""

import contextlib
import difflib
import errno
import importlib
import keyword
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from commandline.exits import Exit
from commandline.failures import failure_of
from commandline.output import color_wanted, echo_failure

DEBUG_VARIABLE = "ROCKSTAR_DEBUG"


class LazyGroup(click.Group):
    """Commands that are imported when used: help stays quick, and what serves imports no trainer.

    Each is a function of its name, - written _, in commandline/<name>.py; that of
    a word of Python has a _ at its end.
    """

    def __init__(self, *args: Any, summaries: Mapping[str, str], **options: Any) -> None:
        """Make a group.

        Args:
            args: of click.Group.
            summaries: what the commands do, by their names, in the order in which help lists them.
            options: of click.Group.
        """
        super().__init__(*args, **options)
        self._summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which they are used."""
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a name, or None."""
        if cmd_name not in self._summaries:
            return None
        name = cmd_name.replace("-", "_")
        name = f"{name}_" if keyword.iskeyword(name) else name
        command: click.Command = getattr(importlib.import_module(f"commandline.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name; one that there is not gets the nearest one."""
        name = args[0]
        if name not in self._summaries and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, self._summaries, n=1)
            meant = (
                f" did you mean {near[0]}?" if near else f" there are {', '.join(self._summaries)}"
            )
            raise click.UsageError(f"no command {name!r}:{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Names of commands without importing them, and options."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=summary)
            for name, summary in self._summaries.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The context of a call, which decides on colours; help is written here."""
        extra.setdefault("color", color_wanted())
        with _quiet_without_reader():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _quiet_without_reader():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and end the process; what goes wrong is told in one or two lines."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = Exit.USAGE
        except click.Abort:
            click.echo("Interrupted.", err=True)
            code = Exit.INTERRUPTED
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE):
                traceback.print_exc()
            failure = failure_of(error)
            echo_failure(failure)
            code = failure.code
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                _forget_output()
        sys.exit(code if isinstance(code, int) else Exit.OK)


@contextlib.contextmanager
def _quiet_without_reader() -> Iterator[None]:
    """End without a word where whoever read the output is gone."""
    try:
        yield
    except BrokenPipeError:
        _forget_output()
        raise click.exceptions.Exit(Exit.NOBODY_READS) from None


def _forget_output() -> None:
    """What is still buffered would be written, and fail, when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
