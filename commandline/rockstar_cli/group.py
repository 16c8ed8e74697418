"""The group of all commands: lazy imports, errors and exit codes, and shell completion."""

import contextlib
import difflib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete

from rockstar_cli.options import json_option
from rockstar_cli.output import Exit, color_wanted, echo_failure, echo_json, failure_of

DEBUG_VARIABLE = "ROCKSTAR_DEBUG"
_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
# The environment variable with which click requests completions.
_COMPLETION_VARIABLE = "_ROCKSTAR_COMPLETE"


class Lazy(NamedTuple):
    """A command that is not imported yet."""

    path: str  # of its module; with ":attribute", if that is not the command's name
    summary: str  # its line in the list of commands


class LazyGroup(click.Group):
    """Imports a command only when it runs: help is fast, and serving imports no training."""

    def __init__(self, *args: Any, commands: Mapping[str, Lazy], **options: Any) -> None:
        """Make a group of commands by name, in the order in which help lists them."""
        super().__init__(*args, **options)
        self._lazy = commands

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the names in the order of help."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None if there is none of this name."""
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name].path.partition(":")
        attribute = attribute or cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name; an unknown name gets a suggestion."""
        name = args[0]
        if name not in self._lazy and not name.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(name, self._lazy, n=1)
            meant = f" did you mean {near[0]}?" if near else f" there are {', '.join(self._lazy)}"
            raise click.UsageError(f"no command {name!r}:{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in self._lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete the names of commands without importing them, and options."""
        names = [
            CompletionItem(name, help=lazy.summary)
            for name, lazy in self._lazy.items()
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
        """Make the context, with or without colored output. Prints help."""
        extra.setdefault("color", color_wanted())
        with _exit_on_broken_pipe():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _exit_on_broken_pipe():
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
        """Run a command and exit; errors are printed in one or two lines."""
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
        except Exception as error:  # whatever ended the command
            if os.environ.get(DEBUG_VARIABLE):
                traceback.print_exc()
            failure = failure_of(error)
            echo_failure(failure)
            code = failure.code
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                _discard_output()
        sys.exit(code if isinstance(code, int) else Exit.OK)


@contextlib.contextmanager
def _exit_on_broken_pipe() -> Iterator[None]:
    """Exit silently if the reader of the output is gone, as in `| head -1`."""
    try:
        yield
    except BrokenPipeError:
        _discard_output()
        raise click.exceptions.Exit(Exit.BROKEN_PIPE) from None


def _discard_output() -> None:
    """Discard buffered output, which Python would fail to write at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.command(
    epilog='\b\nExamples:\n  eval "$(rockstar completion bash)"\n'
    "  rockstar completion fish | source\n"
    "  rockstar completion fish > ~/.config/fish/completions/rockstar.fish"
)
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print a script that completes commands, options, models, versions and labels in SHELL.

    Run the script in the current shell, or where the shell starts. In zsh, run compinit first.
    """
    complete = _SHELLS[shell](ctx.find_root().command, {}, "rockstar", _COMPLETION_VARIABLE)
    if as_json:
        echo_json({"shell": shell, "script": complete.source()})
    else:
        click.echo(complete.source(), nl=False)
