"""How training is shown: one line that updates itself on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

import click

# Without a terminal, at most about this many lines are written.
PLAIN_LINES = 5


@dataclass(frozen=True)
class Epoch:
    """The end of an epoch.

    Attributes:
        number: of the epoch, from 1.
        epochs: how many there will be.
        loss: mean over the epoch's training batches.
        accuracy: the same; augmented images count as trained. None for a regression.
        val_loss: of the validation data, at the end; None where there is none.
        val_accuracy: likewise.
        learning_rate: of the last step.
        seconds: that it took, validation included.
        last: whether training ends with it, as planned or early.
    """

    number: int
    epochs: int
    loss: float
    accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    learning_rate: float = 0.0
    seconds: float = 0.0
    last: bool = False

    def __str__(self) -> str:
        parts = [
            ("loss", self.loss),
            ("accuracy", self.accuracy),
            ("validation loss", self.val_loss),
            ("validation accuracy", self.val_accuracy),
        ]
        return ", ".join(f"{name} {value:.3f}" for name, value in parts if value is not None)

    def brief(self) -> str:
        """What matters most, short enough for a line of 80 columns with a bar in it."""
        if self.accuracy is None:
            losses = [("loss", self.loss), ("val", self.val_loss)]
            return ", ".join(f"{name} {value:.3g}" for name, value in losses if value is not None)
        accuracies = [
            ("accuracy", self.accuracy),
            ("val", self.val_accuracy),
            ("loss", self.loss),
        ]
        return ", ".join(f"{name} {value:.3f}" for name, value in accuracies if value is not None)


# Called at the end of every epoch.
Progress = Callable[[Epoch], None]


@contextmanager
def shown(label: str, epochs: int, stream: TextIO | None = None) -> Iterator[Progress]:
    """Show the epochs of one training as they end.

    Args:
        label: what is being trained.
        epochs: how many there will be.
        stream: where to; standard error where none is given.

    Yields:
        What to hand to `train_and_evaluate`.
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield _plain(label, stream)
        return
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # it would start a thread
    with tqdm(
        total=epochs,
        desc=label,
        file=stream,
        bar_format="{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}{postfix}",
        dynamic_ncols=True,
        mininterval=0,
    ) as bar:

        def show(epoch: Epoch) -> None:
            bar.set_postfix_str(epoch.brief(), refresh=False)
            # Training that resumes starts at a later epoch.
            bar.update(epoch.number - bar.n)

        yield show


def _plain(label: str, stream: TextIO) -> Progress:
    def show(epoch: Epoch) -> None:
        every = max(1, epoch.epochs // PLAIN_LINES)
        if epoch.number % every == 0 or epoch.last:
            click.echo(f"{label}: epoch {epoch.number} of {epoch.epochs}, {epoch}", file=stream)

    return show
