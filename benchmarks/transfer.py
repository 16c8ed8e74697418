"""Accuracy on MNIST of a model trained only on the bundled digits.

    python -m benchmarks.transfer --version-folder demo/models/cnn/1 [--data-dir DIR]

Every test image is preprocessed by the model's contract and predicted by its LiteRT file, as in the
service.
"""

from pathlib import Path

import click
import numpy as np

from rockstar_contract.contract import CONTRACT_FILE, PREDICT_SIGNATURE, Contract, ImageInput
from rockstar_contract.preprocessing import preprocess
from rockstar_serving.model_server.engines.litert import LiteRTEngine
from rockstar_training.datasets import load_arrays

BATCH = 500


@click.command()
@click.option("--version-folder", default="demo/models/cnn/1", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of mnist.npz.")
def main(version_folder: Path, data_dir: Path | None) -> None:
    """Print the accuracy on MNIST's test images, overall and for each digit."""
    contract = Contract.from_json((version_folder / CONTRACT_FILE).read_bytes())
    spec = contract.input
    if not isinstance(spec, ImageInput):
        raise click.ClickException(f"{version_folder} is not an image model")
    _, _, images, labels = load_arrays("mnist", data_dir)
    engine = LiteRTEngine(version_folder)
    predicted = []
    for start in range(0, len(images), BATCH):
        batch = [preprocess(i[..., np.newaxis], spec.preprocessing) for i in images[start:][:BATCH]]
        feeds = {spec.name: np.stack(batch)}
        outputs = engine.run(PREDICT_SIGNATURE, feeds, [contract.output])
        predicted.append(outputs[contract.output].argmax(axis=1))
    right = np.concatenate(predicted) == labels
    trained = f"{contract.model} trained on {contract.training_data[0].name}"
    click.echo(f"{trained}: accuracy {right.mean():.4f} on MNIST's test images")
    click.echo("  ".join(f"{digit}: {right[labels == digit].mean():.2f}" for digit in range(10)))


if __name__ == "__main__":
    main()
