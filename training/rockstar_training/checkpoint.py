"""Checkpoints: what a killed training needs to go on where it stopped."""

import dataclasses
import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rockstar_training.config import TrainConfig, to_json
from rockstar_training.errors import TrainingError
from rockstar_training.pipeline import Part
from rockstar_training.tensorflow_setup import tf

UNFINISHED = ".unfinished"
# A checkpoint costs a little time: of epochs shorter than this, not every one gets one.
SECONDS_BETWEEN = 2.0


def unfinished_folder(runs: Path, config: TrainConfig, train: Part) -> Path:
    """Where a training lies until it is done: runs/.unfinished/<name>-<fingerprint>."""
    return runs / UNFINISHED / f"{config.name}-{_fingerprint(config, train)}"


@contextmanager
def unfinished(runs: Path, config: TrainConfig, train: Part) -> Iterator[Path]:
    """The folder of a training until it is done: the same for the same settings and data.

    It is removed where the body ends well, and stays for the next try where it does not.

    Args:
        runs: the folder of all runs.
        config: the settings.
        train: the data.

    Yields:
        As from `unfinished_folder`; it exists, and nobody else writes to it.

    Raises:
        TrainingError: it cannot be written, or the same training runs in another process.
    """
    folder = unfinished_folder(runs, config, train)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise TrainingError(f"cannot write to {folder}: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainingError(
                f"the very same training of {config.name} is running already in {runs.parent}: "
                "wait for it, or give another --seed or --name"
            ) from error
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


class Checkpoints:
    """Saves variables together with notes, all or nothing, and brings them back.

    Args:
        folder: where they lie.
        variables: everything that training changes.
        writes: whether this process saves; all of a training's workers read.
    """

    def __init__(self, folder: Path, variables: list[Any], writes: bool) -> None:
        self._notes = tf.Variable("", dtype=tf.string, trainable=False)
        checkpoint = tf.train.Checkpoint(notes=self._notes, variables=variables)
        self._manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)
        self._writes = writes
        self._last = time.monotonic()

    def restore(self) -> dict[str, Any] | None:
        """Bring the newest checkpoint back, if there is one.

        Returns:
            What was noted with it.

        Raises:
            TrainingError: it cannot be read.
        """
        newest = self._manager.latest_checkpoint
        if newest is None:
            return None
        try:
            self._manager.checkpoint.restore(newest).assert_existing_objects_matched()
            notes: dict[str, Any] = json.loads(self._notes.numpy())
        except (tf.errors.OpError, LookupError, AssertionError, ValueError) as error:
            folder = Path(newest).parent
            raise TrainingError(
                f"the checkpoint {newest} cannot be read ({type(error).__name__}): remove the "
                f"folder {folder} to train from the start"
            ) from error
        return notes

    def save(self, notes: Callable[[], dict[str, Any]]) -> bool:
        """Save all variables and notes, unless that was just done; whether it did.

        Args:
            notes: makes what json can write; asked only if it is needed.

        Raises:
            TrainingError: the disk is full, and the like.
        """
        if not self._writes or time.monotonic() - self._last < SECONDS_BETWEEN:
            return False
        self._notes.assign(json.dumps(notes()))
        try:
            self._manager.save()
        except tf.errors.OpError as error:
            raise TrainingError(f"cannot write a checkpoint: {error.message}") from error
        self._last = time.monotonic()
        return True


def _fingerprint(config: TrainConfig, train: Part) -> str:
    # Where one quantisation is refused, another goes on from the same checkpoint.
    digest = hashlib.sha256(to_json(dataclasses.replace(config, quantize="none")).encode())
    if config.pretrained is not None and Path(config.pretrained).expanduser().is_file():
        digest.update(Path(config.pretrained).expanduser().read_bytes())
    digest.update(f"{tf.__version__} {train.count}".encode())
    digest.update(np.ascontiguousarray(train.targets).tobytes())
    some = np.linspace(0, train.count - 1, min(train.count, 32)).astype(np.int64)
    digest.update(np.ascontiguousarray(train.tensors(some)).tobytes())
    return digest.hexdigest()[:12]
