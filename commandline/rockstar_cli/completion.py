"""`rockstar completion`."""

import click
from click.shell_completion import get_completion_class

from rockstar_cli.options import json_option
from rockstar_cli.output import echo_json

SHELLS = ("bash", "zsh", "fish")
# The environment variable with which click requests completions.
_VARIABLE = "_ROCKSTAR_COMPLETE"


@click.command(
    epilog="Examples: rockstar completion bash > ~/.rockstar.bash; "
    "rockstar completion fish > ~/.config/fish/completions/rockstar.fish"
)
@click.argument("shell", type=click.Choice(SHELLS))
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the script for SHELL that completes commands, options, models, versions and labels.

    For the current shell: eval "$(rockstar completion bash)", likewise for zsh, and for fish
    rockstar completion fish | source. In zsh, run compinit first.
    """
    make = get_completion_class(shell)
    if make is None:  # not one of SHELLS
        raise click.ClickException(
            f"this version of click does not support {shell}: pip install -U click"
        )
    script = make(ctx.find_root().command, {}, "rockstar", _VARIABLE).source()
    if as_json:
        echo_json({"shell": shell, "script": script})
        return
    click.echo(script, nl=False)
