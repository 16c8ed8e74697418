"""The task of a network: the shape of its input, its output, and the weights of classes."""

from collections.abc import Sequence
from dataclasses import dataclass

from rockstar_training.config import TrainConfig
from rockstar_training.errors import ConfigError
from rockstar_training.prepared import Prepared

_REGRESSION = ("linear", "mlp")
_CLASSIFICATION = ("logistic", "mlp", "cnn")
# A class is rare if it has less than this share of the examples, and less than half of an equal
# share, so that none of 20 equal classes is.
_RARE = 0.1


@dataclass(frozen=True)
class Task:
    """What a network learns.

    Attributes:
        shape: of one example, [h, w, c] or [width].
        classes: number of probabilities in the output; None for a regression, which has one value.
        target_mean: of a regression's targets in the training data.
        target_std: likewise; more than 0.
        class_weights: factors of the losses of each class; empty weights all examples alike.
    """

    shape: tuple[int, ...]
    classes: int | None
    target_mean: float = 0.0
    target_std: float = 1.0
    class_weights: tuple[float, ...] = ()

    @property
    def outputs(self) -> int:
        """Width of the output."""
        return 1 if self.classes is None else self.classes


def rare_classes(shares: Sequence[float]) -> list[int]:
    """List the classes with few examples, rarest first.

    Args:
        shares: each class's share of the training examples.
    """
    limit = min(_RARE, 0.5 / max(1, len(shares)))
    # Half of an equal share is more than 10 % with up to four classes.
    return sorted((i for i, share in enumerate(shares) if share < limit), key=lambda i: shares[i])


def class_weights(config: TrainConfig, shares: Sequence[float]) -> tuple[float, ...]:
    """Compute factors of the losses that make all classes count alike; empty if not needed.

    Args:
        config: whether to use them.
        shares: each class's share of the training examples.
    """
    wanted = config.class_weights == "balanced"
    if not wanted and (config.class_weights == "none" or not rare_classes(shares)):
        return ()
    # The weight of a class without examples is never used.
    return tuple(1 / (len(shares) * share) if share else 1.0 for share in shares)


def weights_note(config: TrainConfig, data: Prepared) -> tuple[str, ...]:
    """Note that class weights are used although they were not requested."""
    shares = data.statistics.label_share
    if config.class_weights != "auto" or not class_weights(config, shares):
        return ()
    rare = rare_classes(shares)
    named = ", ".join(f"{data.labels[i]!r} ({100 * shares[i]:.2g} %)" for i in rare[:5])
    more = f" and {len(rare) - 5} more" if len(rare) > 5 else ""
    return (
        f"Few training examples have the label {named}{more}, so the loss is weighted: all classes "
        "count alike. --class-weights none counts all examples alike.",
    )


def require_suitable(config: TrainConfig, task: Task) -> None:
    """Reject a model that cannot learn the task.

    Raises:
        ConfigError: the message says which models can.
    """
    kind, able = ("labels are", _CLASSIFICATION) if task.classes else ("a number is", _REGRESSION)
    if config.model not in able:
        rows = "; linear takes --data csv:FILE --target COLUMN, a column of numbers"
        raise ConfigError(
            f"model: expected {' or '.join(able)} where {kind} to be predicted, "
            f"got {config.model!r}{rows if config.model == 'linear' else ''}"
        )
    if len(task.shape) != 3 and (config.model == "cnn" or config.augmentation):
        field = "model" if config.model == "cnn" else "augmentation"
        raise ConfigError(f"{field}: cnn and augmentation are for images, the data are rows")


def task_of(config: TrainConfig, data: Prepared) -> Task:
    """Return the task of a network on a data set.

    Raises:
        ConfigError: the configured model cannot learn it; the message says which models can.
    """
    shape = tuple(data.input.shape)
    target = data.statistics.target
    if data.task == "classification":
        weights = class_weights(config, data.statistics.label_share)
        task = Task(shape, len(data.labels), class_weights=weights)
    elif target is None or config.model == "linear":
        # The linear model learns raw values, so that its weights are readable, unless their squares
        # would overflow or underflow in float32.
        std = 1.0 if target is None else target.std or 1.0
        task = Task(shape, None, 0.0, 1.0 if 1e-9 < std < 1e9 else std)
    else:
        task = Task(shape, None, target.mean, target.std or 1.0)
    require_suitable(config, task)
    return task
