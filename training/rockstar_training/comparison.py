"""A new version against the one that is served: may it take its place, and is it as good?

Imports without TensorFlow, so that what must not be published is known before it is trained.
"""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from rockstar_contract.contract import (
    CONTRACT_FILE,
    Contract,
    ContractError,
    ImageInput,
    Input,
    TableInput,
    Task,
)
from rockstar_contract.version_folders import served_versions
from rockstar_training.errors import DataError
from rockstar_training.prepared import Prepared
from rockstar_training.report.interval import wilson

_ACCURACY = "test_accuracy"
# How many names a message lists.
_LISTED = 8


class IncompatibleError(DataError):
    """A version that promises something else than the one that is served under its name."""


@dataclass(frozen=True)
class Promise:
    """What callers rely on.

    Attributes:
        task: what is answered.
        input: what is taken.
        labels: in order.
        target: what is predicted, where that has a name.
        data_set: the name of what it learned from; None where that is not known.
    """

    task: Task
    input: Input
    labels: tuple[str, ...]
    target: str | None
    data_set: str | None


def promise_of(contract: Contract) -> Promise:
    """What a contract promises."""
    data = contract.data_set
    return Promise(
        *(contract.task, contract.input, contract.labels, contract.target),
        data.name if data else None,
    )


def promised_by(data: Prepared) -> Promise:
    """What a model of some data will promise."""
    return Promise(data.task, data.input, data.labels, data.target, data.name)


def serving_contract(models: Path, model: str) -> Contract | None:
    """The contract of the version that is served: the highest; None where there is none to read."""
    try:
        folders = served_versions(models / model)
        return Contract.from_json((folders[max(folders)] / CONTRACT_FILE).read_bytes())
    except (OSError, ValueError, ContractError):
        return None


def require_compatible(models: Path, model: str, new: Promise) -> None:
    """Check that a new version may take the place of the one that is served.

    Raises:
        IncompatibleError: it promises something else; the message says what and what to do.
    """
    contract = serving_contract(models, model)
    if contract is None:
        return
    differences = _differences(promise_of(contract), new)
    if differences:
        raise IncompatibleError(
            f"{model} version {contract.version} is served, and this would take its place with "
            f"{'; '.join(differences)}. Use --name for another model, or --replace"
        )


def worse_than_served(models: Path, new: Contract, held_out: int) -> str:
    """Why a version is worse than the one that is served, in a sentence; "" where it is not.

    It is where the 95 % confidence interval of the difference in held-out accuracy lies below zero
    (R. G. Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 1998, method 10). Only classifications with the same labels are
    compared.

    Args:
        models: the folder of models.
        new: its contract.
        held_out: how many examples its accuracy is of.
    """
    old = serving_contract(models, new.model)
    if old is None or old.labels != new.labels:
        return ""
    before, now = old.metrics.get(_ACCURACY), new.metrics.get(_ACCURACY)
    if before is None or now is None or now >= before or held_out < 1:
        return ""
    # Contracts with many labels do not say how many examples were held out.
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


def _differences(old: Promise, new: Promise) -> list[str]:
    found = []
    if old.task != new.task:
        found.append(f"the task {new.task} instead of {old.task}")
    if old.labels != new.labels and old.task == new.task:
        found.append(_of_labels(old.labels, new.labels))
    if _taken(old.input) != _taken(new.input):
        found.append(_of_inputs(old.input, new.input))
    if old.target != new.target:
        found.append(f"the target {new.target or 'none'} instead of {old.target or 'none'}")
    if None not in (old.data_set, new.data_set) and old.data_set != new.data_set:
        found.append(f"the data set {new.data_set} instead of {old.data_set}")
    return found


def _of_labels(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    if set(old) == set(new):
        return f"the same labels in another order ({_listed(new)})"
    return f"the labels {_listed(new)} ({len(new)}) instead of {_listed(old)} ({len(old)})"


def _taken(spec: Input) -> object:
    """What callers send: not how it is scaled, which follows from the data each time."""
    if isinstance(spec, ImageInput):
        return (spec.name, spec.shape)
    if isinstance(spec, TableInput):
        return {column.name: type(column).__name__ for column in spec.columns}
    return spec.tensors


def _of_inputs(old: Input, new: Input) -> str:
    if isinstance(old, TableInput) and isinstance(new, TableInput):
        before = {column.name: type(column).__name__ for column in old.columns}
        now = {column.name: type(column).__name__ for column in new.columns}
        parts = [
            ("no more the column", [name for name in before if name not in now]),
            ("the new column", [name for name in now if name not in before]),
            ("another type of", [n for n, kind in now.items() if before.get(n, kind) != kind]),
        ]
        return ", ".join(f"{what} {_listed(tuple(names))}" for what, names in parts if names)
    return f"{_described(new)} as input instead of {_described(old)}"


def _described(spec: Input) -> str:
    if isinstance(spec, ImageInput):
        return f"images of {' × '.join(map(str, spec.shape))}"
    if isinstance(spec, TableInput):
        return "rows of a table"
    return f"the tensors {_listed(tuple(tensor.name for tensor in spec.tensors))}"


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
