"""Predict the images in a folder or bucket, or the rows of Parquet files, with Spark.

    pip install 'rockstartf[serve,spark]'
    python examples/predict_with_spark.py models/cnn/1 photos answers
    python examples/predict_with_spark.py models/iris/1 flowers.parquet answers

Writes Parquet files with a row for each example: label, score, version, and error.
"""

import sys
from collections.abc import Iterator
from typing import Any

from pyspark.sql import SparkSession

from rockstar_serving import load

SQL_TYPES = {str: "string", float: "double", int: "long"}


def main(version_folder: str, source: str, output: str) -> None:
    """Predict with the workers of the current Spark session."""
    model = load(version_folder, top=1)
    spark = SparkSession.builder.getOrCreate()
    if is_image := not source.endswith(".parquet"):
        reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        data = reader.load(source).select("path", "content")
    else:
        data = spark.read.parquet(source)

    def predict(frames: Iterator[Any]) -> Iterator[Any]:
        for frame in frames:
            if is_image:
                yield frame[["path"]].assign(**model.table(frame["content"]))
            else:
                yield frame.assign(**model.table(frame))

    kept = data.drop("content").schema
    for name, kind in model.column_types.items():
        kept = kept.add(name, SQL_TYPES[kind])
    data.mapInPandas(predict, kept).write.parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
