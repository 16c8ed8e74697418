"""Train a Keras model of your own and export it with a contract, to serve it.

    python examples/own_keras_model.py letters mine     # letters/a/1.png, letters/b/1.png, …
    rockstar serve --models mine/models

The contract contains the preprocessing steps for images that clients send, so the model must be
trained on images that went through the same steps.
"""

import hashlib
from pathlib import Path

import click
import keras
import numpy as np

from rockstar_contract.contract import Contract, DataSet, ImageInput, utc_now
from rockstar_contract.inputs import prepare
from rockstar_contract.preprocessing import Centre, Fit, Grey, Scale
from rockstar_training.export import export
from rockstar_training.prepared_data import GoldenSamples, input_statistics

STEPS = (Grey(), Scale(), Fit(height=12, width=12), Centre(height=16, width=16))
SPEC = ImageInput(
    name="image", dtype="float32", shape=(16, 16, 1), range=(0.0, 1.0), preprocessing=STEPS
)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("workdir", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path, workdir: Path) -> None:
    """Train on the PNG files in the subfolders of FOLDER; export to WORKDIR/models."""
    paths = np.random.default_rng(0).permutation(sorted(folder.glob("*/*.png")))
    files = [path.read_bytes() for path in paths]
    labels = tuple(sorted({path.parent.name for path in paths}))
    if len(labels) < 2:
        raise click.UsageError(f"{folder} needs two folders with PNG files, or more")
    x = np.stack([prepare(file, SPEC, field="image") for file in files])
    y = np.array([labels.index(path.parent.name) for path in paths])
    train, test = slice(len(x) // 5, None), slice(0, len(x) // 5)

    network = [keras.layers.Conv2D(32, 5, strides=2, activation="relu"), keras.layers.Flatten()]
    answer = keras.layers.Dense(len(labels), activation="softmax")
    model = keras.Sequential([keras.Input(SPEC.shape), *network, answer])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[train], y[train], epochs=30, verbose=0)
    accuracy = model.evaluate(x[test], y[test], verbose=0)[1]

    sha256 = hashlib.sha256(b"".join(files)).hexdigest()
    contract = Contract(
        schema_version=1,
        model=folder.name,
        version=1,  # export counts
        task="classification",
        input=SPEC,
        labels=labels,
        metrics={"test_accuracy": accuracy},
        data_set=DataSet(name=folder.name, examples=len(x), sha256=sha256),
        statistics=input_statistics(x[train], y[train], len(labels), SPEC),
        created=utc_now(),
        producer="me",
    )
    golden = GoldenSamples(tuple(files[:32]), x[:32])
    # The variables, not the Keras model: see export.
    variables = [weight.value for weight in model.weights]
    published = export(model, variables, contract, golden, workdir / "models")
    click.echo(
        f"{published.folder}: {accuracy:.3f} of the held-out images are classified correctly"
    )


if __name__ == "__main__":
    main()
