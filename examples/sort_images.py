"""Sort images into folders by label, with a folder for images to be checked by a person.

    python examples/sort_images.py --model cnn demo/samples sorted

Calls the gateway of `make demo` or `rockstar serve`, and copies 7.png to sorted/7/7.png, or to
sorted/unsure/ if the most likely label has a score below --threshold.
"""

import shutil
from collections import Counter
from pathlib import Path

import click

from rockstar_client import CallError, HttpClient, InvalidRequestError
from rockstar_contract.limits import IMAGE_SUFFIXES


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--model", required=True)
@click.option("--url", default="http://127.0.0.1:8080", envvar="ROCKSTAR_URL", show_default=True)
@click.option("--api-key", envvar="ROCKSTAR_API_KEY")
@click.option("--threshold", default=0.9, type=click.FloatRange(0, 1), show_default=True)
def main(
    folder: Path, target: Path, model: str, url: str, api_key: str | None, threshold: float
) -> None:
    """Sort the images of FOLDER into folders in TARGET."""
    counts: Counter[str] = Counter()
    with HttpClient(url, api_key=api_key) as client:
        for image in sorted(folder.iterdir()):
            if image.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            try:
                best = client.predict(model, image).predictions[0]
            except InvalidRequestError as error:
                click.echo(f"{image} skipped: {error}", err=True)
                continue
            except CallError as error:
                raise click.ClickException(f"{image}: {error}") from error
            label = best.label if best.label and best.score >= threshold else "unsure"
            (target / label).mkdir(parents=True, exist_ok=True)
            shutil.copy2(image, target / label)
            counts[label] += 1
    for label, count in sorted(counts.items()):
        click.echo(f"{count:6} {label}")


if __name__ == "__main__":
    main()
