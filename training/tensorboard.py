"""Logs for TensorBoard."""

from pathlib import Path
from types import TracebackType

from training.progress import Epoch
from training.tensorflow_setup import tf

_CURVES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


class Board:
    """Writes an epoch's numbers where TensorBoard finds them; nothing where there is no folder."""

    def __init__(self, folder: Path | None) -> None:
        self._writer = None if folder is None else tf.summary.create_file_writer(str(folder))

    def __enter__(self) -> "Board":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def show(self, epoch: Epoch) -> None:
        """Add the end of an epoch to the curves."""
        if self._writer is None:
            return
        with self._writer.as_default(step=epoch.number):
            for name in _CURVES:
                value = getattr(epoch, name)
                if value is not None:
                    tf.summary.scalar(name, value)
        self._writer.flush()
