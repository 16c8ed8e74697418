"""Entry point of the command `rockstar`."""

import io
import os
import sys

import click

from rockstar_cli.group import DEBUG_VARIABLE, Lazy, LazyGroup
from rockstar_serving.logs import replace_closed_streams

COMMANDS = {
    "train": Lazy("rockstar_cli.train", "Train a model and publish it as the next version."),
    "tune": Lazy("rockstar_cli.train", "Search the best settings of a model, on Ray Tune."),
    "watch": Lazy("rockstar_cli.runs", "Watch a training in the browser."),
    "import": Lazy("rockstar_cli.transfer:import_", "Publish your own Keras model or SavedModel."),
    "serve": Lazy("rockstar_cli.serve", "Serve the models in a folder over HTTP and gRPC."),
    "gateway": Lazy(
        "rockstar_serving.gateway.command", "Serve over HTTP in front of a remote model server."
    ),
    "model-server": Lazy(
        "rockstar_cli.serve", "Serve TensorFlow Serving's API only, with its flags."
    ),
    "predict": Lazy("rockstar_cli.predict", "Predict images or rows of a table."),
    "explain": Lazy("rockstar_cli.explain", "Show which pixels or columns led to a prediction."),
    "bench": Lazy("rockstar_cli.bench", "Load-test a running service."),
    "check": Lazy("rockstar_cli.check", "Check models, a routes file or a running service."),
    "models": Lazy("rockstar_cli.registry", "List models, their versions and labels."),
    "promote": Lazy("rockstar_cli.registry", "Give a version a label, such as stable or canary."),
    "rollback": Lazy("rockstar_cli.registry", "Serve the previous version again."),
    "unpublish": Lazy("rockstar_cli.registry", "Remove a version."),
    "prune": Lazy("rockstar_cli.registry", "Remove old versions without a label."),
    "verify": Lazy("rockstar_cli.registry", "Compare versions with the hashes in their manifests."),
    "push": Lazy("rockstar_cli.transfer", "Copy a version to a folder, a bucket or a registry."),
    "pull": Lazy("rockstar_cli.transfer", "Copy versions from a folder, a bucket or a registry."),
    "export": Lazy("rockstar_cli.transfer", "Write a model as an HTML file that runs it, offline."),
    "runs": Lazy("rockstar_cli.runs", "Compare training runs in a table."),
    "learning-rates": Lazy(
        "rockstar_cli.lecture", "Plot very high, high, good and low learning rates."
    ),
    "notebook": Lazy("rockstar_cli.lecture", "Open the lecture's notebooks, with exercises."),
    "completion": Lazy("rockstar_cli.group", "Print the shell completion script."),
}


@click.command(
    "rockstar",
    cls=LazyGroup,
    commands=COMMANDS,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
    epilog="\b\nExamples:\n  rockstar train cnn\n  rockstar serve\n"
    "  rockstar predict --model cnn seven.png\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 service unreachable, 4 some items failed, "
    "130 Ctrl-C.",
)
@click.version_option(package_name="rockstartf")
@click.option("--debug", is_flag=True, help="Print tracebacks of errors; also ROCKSTAR_DEBUG=1.")
def cli(debug: bool) -> None:
    """From a TensorFlow classifier to a prediction service."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


def main() -> None:
    """Run the command."""
    replace_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As standard error does: names of files may not be UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
    cli(prog_name="rockstar")


if __name__ == "__main__":
    main()
