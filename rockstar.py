"""Entry point of the command `rockstar`."""

import os

import click

from commandline.group import DEBUG_VARIABLE, LazyGroup
from serving.logs import replace_closed_streams

COMMANDS = {
    "train": "Train a model and publish it as the next version.",
    "import": "Publish a Keras model or a SavedModel of your own.",
    "serve": "Serve the models of a folder over HTTP and gRPC.",
    "gateway": "Serve over HTTP in front of a model server that runs elsewhere.",
    "model-server": "Serve over TensorFlow Serving's API alone, with its flags.",
    "predict": "Ask a running service what images show.",
    "explain": "Ask a running service which pixels made its answer.",
    "bench": "Measure how much a running service can take.",
    "check": "Check models, a routes file and a running service.",
    "models": "List models, their versions and labels.",
    "promote": "Give a version a label, such as stable or canary.",
    "rollback": "Serve the version that was served before.",
    "unpublish": "Remove a version.",
    "prune": "Remove old versions that have no label.",
    "verify": "Compare versions with the hashes of their manifests.",
    "runs": "Compare training runs in a table.",
    "learning-rates": "Draw what very high, high, good and low learning rates do.",
    "completion": "Print what makes a shell complete all this.",
}


@click.command(
    "rockstar",
    cls=LazyGroup,
    summaries=COMMANDS,
    context_settings={"show_default": True, "help_option_names": ["-h", "--help"]},
    epilog="Examples: rockstar train cnn; rockstar serve; rockstar predict --model cnn seven.png. "
    "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 service away, 4 some failed, 130 Ctrl-C.",
)
@click.version_option(package_name="rockstartf")
@click.option("--debug", is_flag=True, help="Show where an error happened; also ROCKSTAR_DEBUG=1.")
def cli(debug: bool) -> None:
    """From a TensorFlow classifier to a prediction service."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


def main() -> None:
    """Run the command."""
    replace_closed_streams()
    cli(prog_name="rockstar")


if __name__ == "__main__":
    main()
