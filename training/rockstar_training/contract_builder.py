"""The contract of a new version: built from its data, and compared with the served one.

Imports no TensorFlow, so that an incompatible version is refused before training starts.
"""

from importlib.metadata import PackageNotFoundError, version
from math import sqrt
from pathlib import Path

from rockstar_contract import contract as contracts
from rockstar_contract.contract import Contract, ImageInput, Input, TableInput
from rockstar_contract.errors import name_first
from rockstar_contract.version_folders import served_versions
from rockstar_training.errors import DataError
from rockstar_training.evaluation import TestPredictions, confusion_matrix, wilson
from rockstar_training.prepared_data import PreparedData

# More labels would make a matrix that nobody reads, in a contract that every server loads.
_MAX_CONFUSION_LABELS = 50
_ACCURACY = "test_accuracy"
# Names that a message lists.
_NAMED = 8


def build_contract(
    name: str,
    data: PreparedData,
    metrics: dict[str, float],
    test: TestPredictions,
    threshold: float | None,
) -> Contract:
    """Build the contract of a trained model; publishing replaces its placeholder version.

    The threshold is the lowest score that counts as an answer.
    """
    countable = data.task == "classification" and len(data.labels) <= _MAX_CONFUSION_LABELS
    return Contract(
        schema_version=contracts.SCHEMA_VERSION,
        model=name,
        version=1,
        task=data.task,
        input=data.input,
        labels=data.labels,
        metrics=metrics,
        data_set=contracts.DataSet(name=data.name, examples=data.examples, sha256=data.sha256),
        statistics=data.statistics,
        created=contracts.utc_now(),
        producer=producer(),
        target=data.target,
        confusion=confusion_matrix(test, len(data.labels)) if countable else (),
        threshold=threshold,
    )


def producer() -> str:
    """Name the software that makes a version, with the releases."""

    def release(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:  # a checkout that is not installed
            return package

    return ", ".join(map(release, ("rockstartf", "tensorflow", "keras")))


def _served_contract(models: Path, model: str) -> Contract | None:
    """Read the contract of the served (highest) version; None if there is none to read."""
    try:
        folders = served_versions(models / model)
        return Contract.from_json((folders[max(folders)] / contracts.CONTRACT_FILE).read_bytes())
    except (OSError, ValueError, contracts.ContractError):
        return None


def require_compatible(models: Path, model: str, new: Contract | PreparedData) -> None:
    """Check that a version with this contract, or trained on this data, may replace the served one.

    Raises a DataError if it promises something else.
    """
    contract = _served_contract(models, model)
    if contract is None:
        return
    differences = _differences(contract, new)
    if differences:
        raise DataError(
            f"{model} version {contract.version} is served, and this would take its place "
            f"{'; '.join(differences)}. Use --name for another model, or --replace"
        )


def worse_than_served(models: Path, new: Contract, held_out: int) -> str:
    """Explain why a version is worse than the served one; "" if it is not.

    It is worse if the 95 % confidence interval of the difference in held-out accuracy lies below
    zero (R. G. Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 1998, method 10). Only classifiers with the same labels are compared.

    The accuracy of the new version was measured on this number of held-out examples.
    """
    old = _served_contract(models, new.model)
    if old is None or old.labels != new.labels:
        return ""
    before, now = old.metrics.get(_ACCURACY), new.metrics.get(_ACCURACY)
    if before is None or now is None or now >= before or held_out < 1:
        return ""
    # Contracts with many labels have no confusion matrix to count examples in.
    examples = sum(map(sum, old.confusion)) or held_out
    low_before, _ = wilson(round(before * examples), examples)
    _, high_now = wilson(round(now * held_out), held_out)
    at_least = before - now - sqrt((before - low_before) ** 2 + (high_now - now) ** 2)
    if at_least <= 0:
        return ""
    return (
        f"its held-out accuracy is {now:.4f} ({held_out} examples), that of version {old.version}, "
        f"which is served, {before:.4f} ({examples}): at least {100 * at_least:.1f} percentage "
        "points less, with 95 % confidence"
    )


def _differences(old: Contract, new: Contract | PreparedData) -> list[str]:
    """List differences, each after the words "this would take its place"."""
    found = []
    if old.task != new.task:
        found.append(f"with the task {new.task} instead of {old.task}")
    if old.labels != new.labels and old.task == new.task:
        if set(old.labels) == set(new.labels):
            found.append(
                f"with the same labels in another order ({name_first(new.labels, _NAMED)})"
            )
        else:
            found.append(
                f"with the labels {name_first(new.labels, _NAMED)} ({len(new.labels)}) instead of "
                f"{name_first(old.labels, _NAMED)} ({len(old.labels)})"
            )
    # Scaling is not compared: it follows from the data each time.
    if isinstance(old.input, TableInput) and isinstance(new.input, TableInput):
        before, now = (
            {column.name: type(column).__name__ for column in spec.columns}
            for spec in (old.input, new.input)
        )
        parts = [
            ("without the", [name for name in before if name not in now]),
            ("with the new", [name for name in now if name not in before]),
            ("with another type of the", [n for n in now if before.get(n, now[n]) != now[n]]),
        ]
        found += [
            f"{what} column{'s' * (len(names) > 1)} {name_first(names, _NAMED)}"
            for what, names in parts
            if names
        ]
    else:
        kinds = [_described(spec.input) for spec in (old, new)]
        tensors = [getattr(spec.input, "tensors", ()) for spec in (old, new)]
        if kinds[0] != kinds[1] or tensors[0] != tensors[1]:
            found.append(f"with {kinds[1]} as input instead of {kinds[0]}")
    if old.target != new.target:
        found.append(f"with the target {new.target or 'none'} instead of {old.target or 'none'}")
    source = new if isinstance(new, PreparedData) else new.data_set
    if old.data_set and source and source.name != old.data_set.name:
        found.append(f"with the data set {source.name} instead of {old.data_set.name}")
    return found


def _described(spec: Input) -> str:
    if isinstance(spec, ImageInput):
        return f"images of {' × '.join(map(str, spec.shape))}"
    if isinstance(spec, TableInput):
        return "rows of a table"
    return f"the tensors {name_first([tensor.name for tensor in spec.tensors], _NAMED)}"
