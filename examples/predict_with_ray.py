"""Predict the images in a folder or bucket, or the rows of Parquet files, with Ray Data.

    pip install 'rockstartf[serve,ray]'
    python examples/predict_with_ray.py models/cnn/1 photos answers
    python examples/predict_with_ray.py models/iris/1 flowers.parquet answers

Writes Parquet files with a row for each example: label, score, version, and error.
"""

import sys
from typing import Any

import ray

from rockstar_serving import load
from rockstar_serving.local_model import LocalModel


class Predict:
    """Adds the columns of a model to batches, as pandas DataFrames; one worker of Ray."""

    def __init__(self, model: LocalModel, is_image: bool) -> None:
        """Keep a model, which this worker loads at its first batch."""
        self._model, self._is_image = model, is_image

    def __call__(self, batch: Any) -> Any:
        """Predict a batch."""
        if self._is_image:
            return batch[["path"]].assign(**self._model.table(batch["bytes"]))
        return batch.assign(**self._model.table(batch))


def main(version_folder: str, source: str, output: str) -> None:
    """Predict with two workers."""
    model = load(version_folder, top=1)
    if is_image := not source.endswith(".parquet"):
        data = ray.data.read_binary_files(source, include_paths=True)
    else:
        data = ray.data.read_parquet(source)
    workers: dict[str, Any] = {"concurrency": 2, "batch_format": "pandas", "batch_size": 256}
    predicted = data.map_batches(Predict, fn_constructor_args=[model, is_image], **workers)
    predicted.write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
