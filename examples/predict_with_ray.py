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


def main(version_folder: str, source: str, output: str) -> None:
    """Predict with the current Ray cluster, or a local one."""
    model = load(version_folder, top=1)
    if is_image := not source.endswith(".parquet"):
        data = ray.data.read_binary_files(source, include_paths=True)
    else:
        data = ray.data.read_parquet(source)

    def predict(frame: Any) -> Any:
        # A worker of Ray loads the model at its first batch, and keeps it.
        if is_image:
            return frame[["path"]].assign(**model.table(frame["bytes"]))
        return frame.assign(**model.table(frame))

    data.map_batches(predict, batch_size=256, batch_format="pandas").write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
