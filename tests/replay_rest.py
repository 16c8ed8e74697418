"""Replay the golden REST requests of tests/testdata/rest against any server.

    python -m tests.replay_rest --write-models FOLDER [--seen-as /models]
    python -m tests.replay_rest --address HOST:PORT [--embedded]

The first writes the models that the requests ask for, and `FOLDER/models.config`, which serves
them (this needs TensorFlow). `--seen-as` is where the server sees the folder. With TensorFlow
Serving in a container:

    docker run --rm -p 8501:8501 -v $PWD/FOLDER:/models tensorflow/serving:2.20.0 \\
        --model_config_file=/models/models.config --allow_version_labels_for_unavailable_models \\
        --rest_api_enable_cors_support

With the embedded server:

    python -m serving.model_server --rest_api_port=8501 --model_config_file=FOLDER/models.config \\
        --rest_api_enable_cors_support

The second sends the requests and prints where answers differ from the files; it exits with 1 if any
does. `--embedded` expects the few answers that the embedded server means to give otherwise. As a
test: `ROCKSTAR_TFSERVING_REST=HOST:PORT pytest -m tfserving`.
"""

import sys
from pathlib import Path

import click

from tests import rest_cases


@click.command()
@click.option("--write-models", "folder", type=click.Path(path_type=Path), metavar="FOLDER")
@click.option("--seen-as", help="The folder's path as the server sees it, if another.")
@click.option("--address", metavar="HOST:PORT", help="Of a server's REST API.")
@click.option("--embedded", is_flag=True, help="It is the embedded server.")
def main(folder: Path | None, seen_as: str | None, address: str | None, embedded: bool) -> None:
    """Write the models, or replay the requests."""
    if (folder is None) == (address is None):
        raise click.UsageError("one of --write-models and --address is needed")
    if folder is not None:
        from tests.rest_models import write_models

        click.echo(f"wrote the models; serve {write_models(folder, seen_as=seen_as)}")
        return
    failed = 0
    for name in rest_cases.names():
        try:
            differences = rest_cases.replay(name, address or "", embedded=embedded)
        except OSError as error:
            raise click.ClickException(f"{address} does not answer: {error}") from error
        failed += bool(differences)
        for difference in differences:
            click.echo(f"{name}: {difference}")
    click.echo(f"{len(rest_cases.names()) - failed} cases as expected, {failed} not")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
