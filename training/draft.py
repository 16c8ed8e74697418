"""The contract of a model before it is published."""

from importlib.metadata import PackageNotFoundError, version

from serving.contract import SCHEMA_VERSION, Contract, DataSet, utc_now
from training.prepared import Prepared


def draft(name: str, data: Prepared, metrics: dict[str, float]) -> Contract:
    """What a model of this data promises; the version is a placeholder that publishing replaces.

    Args:
        name: of the model.
        data: that it was trained on.
        metrics: by name.
    """
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
        producer=", ".join(map(_release, ("rockstartf", "tensorflow", "keras"))),
        target=data.target,
    )


def _release(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return package
