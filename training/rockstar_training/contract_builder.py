"""Builds the contract of a model before it is published."""

from importlib.metadata import PackageNotFoundError, version

from rockstar_contract.contract import SCHEMA_VERSION, Contract, DataSet, utc_now
from rockstar_training.evaluation import TestPredictions, confusion_matrix
from rockstar_training.prepared import Prepared

# More labels make a matrix that nobody reads, and a contract that every server carries around.
MAX_CONFUSED = 50


def draft(
    name: str,
    data: Prepared,
    metrics: dict[str, float],
    test: TestPredictions,
    threshold: float | None = None,
) -> Contract:
    """What a model of this data promises; the version is a placeholder that publishing replaces.

    Args:
        name: of the model.
        data: that it was trained on.
        metrics: by name.
        test: what the model says of the held-out examples.
        threshold: the least score of an answer; None for none.
    """
    countable = data.task == "classification" and len(data.labels) <= MAX_CONFUSED
    return Contract(
        schema_version=SCHEMA_VERSION,
        model=name,
        version=1,
        task=data.task,
        input=data.input,
        labels=data.labels,
        metrics=metrics,
        data_set=DataSet(name=data.name, examples=data.examples, sha256=data.sha256),
        statistics=data.statistics,
        created=utc_now(),
        producer=producer(),
        target=data.target,
        confusion=confusion_matrix(test, len(data.labels)) if countable else (),
        threshold=threshold,
    )


def producer() -> str:
    """The software that makes a version, with the releases."""
    return ", ".join(map(_release, ("rockstartf", "tensorflow", "keras")))


def _release(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return package
