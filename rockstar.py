"""Entry point of the command `rockstar`."""

import importlib

import click

# Each command is a function of the same name, - written _, in commandline/<name>.py.
COMMANDS = {
    "train": "Train a model and publish it as the next version.",
    "serve": "Serve the models of a folder over HTTP and gRPC.",
    "gateway": "Serve over HTTP in front of a model server that runs elsewhere.",
    "check": "Check a routes file of the gateway.",
    "predict": "Ask a running service what images show.",
    "models": "List models, their versions and labels.",
    "promote": "Give a version a label, such as stable or canary.",
    "rollback": "Give a label back to the version that had it before.",
    "prune": "Remove old versions that have no label.",
    "verify": "Compare versions with the hashes of their manifests.",
    "runs": "Compare training runs in a table.",
    "learning-rates": "Draw what very high, high, good and low learning rates do.",
}


class LazyGroup(click.Group):
    """Imports a command when it is used: help stays quick, and what serves imports no trainer."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a name, or None."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"commandline.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=LazyGroup,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="rockstartf")
def cli() -> None:
    """From a TensorFlow classifier to a prediction service."""


def main() -> None:
    """Run the command."""
    cli(prog_name="rockstar")


if __name__ == "__main__":
    main()
