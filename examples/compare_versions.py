"""Compare two versions before a rollout: list the images for which their labels differ.

    python examples/compare_versions.py --model cnn --old 1 --new 2 scans/*.png

Calls a model server over gRPC, the embedded one or TensorFlow Serving. Both versions must be
loaded: after `rockstar promote cnn 1 --label stable`, `rockstar serve` keeps version 1 loaded next
to the newest one. Exits with status 1 if the share of equal labels is below --agreement.
"""

import sys
from pathlib import Path

import click

from rockstar_client import CallError, GrpcClient

BATCH = 64


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--model", required=True)
@click.option("--old", required=True, type=click.IntRange(1))
@click.option("--new", required=True, type=click.IntRange(1))
@click.option("--server", default="127.0.0.1:8500", show_default=True)
@click.option("--agreement", default=0.99, type=click.FloatRange(0, 1), show_default=True)
def main(
    images: tuple[Path, ...], model: str, old: int, new: int, server: str, agreement: float
) -> None:
    """Predict IMAGES with two versions of a model."""
    same = 0
    with GrpcClient(server) as client:
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            try:
                befores = client.predict(model, batch, version=old).predictions
                afters = client.predict(model, batch, version=new).predictions
            except CallError as error:
                raise click.ClickException(str(error)) from error
            for image, before, after in zip(batch, befores, afters, strict=True):
                same += before.label == after.label
                if before.label != after.label:
                    was = f"{before.label or 'not sure'} ({before.score:.3f})"
                    now = f"{after.label or 'not sure'} ({after.score:.3f})"
                    click.echo(f"{image}: {was} becomes {now}")
    share = same / len(images)
    click.echo(f"{same} of {len(images)} labels are the same ({share:.2%})")
    sys.exit(share < agreement)


if __name__ == "__main__":
    main()
