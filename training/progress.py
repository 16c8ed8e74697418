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
        accuracy: the same; augmented images count as trained.
    """

    number: int
    epochs: int
    loss: float
    accuracy: float

    def __str__(self) -> str:
        return f"loss {self.loss:.3f}, accuracy {self.accuracy:.3f}"


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
    bar = click.progressbar(
        length=epochs,
        label=label,
        file=stream,
        item_show_func=_text,
        show_pos=True,
        width=24,
    )
    with bar:
        yield lambda epoch: bar.update(1, epoch)


def _text(epoch: Epoch | None) -> str:
    return "" if epoch is None else str(epoch)


def _plain(label: str, stream: TextIO) -> Progress:
    def show(epoch: Epoch) -> None:
        every = max(1, epoch.epochs // PLAIN_LINES)
        if epoch.number % every == 0 or epoch.number == epoch.epochs:
            click.echo(f"{label}: epoch {epoch.number} of {epoch.epochs}, {epoch}", file=stream)

    return show
