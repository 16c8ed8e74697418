"""Predict the images in a folder or bucket, or the rows of Parquet files, with Apache Beam.

    pip install 'rockstartf[serve]' apache-beam
    python examples/predict_with_beam.py models/cnn/1 'photos/**.png' answers
    python examples/predict_with_beam.py models/iris/1 flowers.parquet answers

Writes Parquet files with a row for each example: item, label, score, version, and error.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io import fileio
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference

from rockstar_serving import load
from rockstar_serving.local_model import LocalModel

ARROW_TYPES = {str: pa.string(), float: pa.float64(), int: pa.int64()}


class RockstarModel(ModelHandler):  # type: ignore[misc]
    """Predicts files or rows with a version folder; a row of `LocalModel.table` for each."""

    def __init__(self, model: LocalModel) -> None:
        """Keep a model, which each worker loads when it starts."""
        super().__init__(max_batch_size=256)
        self._model = model

    def load_model(self) -> LocalModel:
        """See ModelHandler."""
        return self._model

    def run_inference(
        self,
        batch: Sequence[Any],
        model: LocalModel,
        inference_args: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> Iterable[dict[str, Any]]:
        """See ModelHandler."""
        table = model.table(batch)
        return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def main(version_folder: str, source: str, output: str) -> None:
    """Predict with the runner in the options, by default in this process."""
    model = load(version_folder, top=1)
    columns = {"item": str, **model.column_types}
    schema = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()])
    with beam.Pipeline() as pipeline:
        if source.endswith(".parquet"):
            rows = pipeline | beam.io.ReadFromParquet(source)
            examples = rows | beam.Map(lambda row: (str(row), row))
        else:
            files = pipeline | fileio.MatchFiles(source) | fileio.ReadMatches()
            examples = files | beam.Map(lambda file: (file.metadata.path, file.read()))
        (
            examples
            | RunInference(KeyedModelHandler(RockstarModel(model)))
            | beam.Map(lambda predicted: {"item": predicted[0], **predicted[1]})
            | beam.io.WriteToParquet(output, schema, file_name_suffix=".parquet")
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
