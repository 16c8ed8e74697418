"""The training loop of Keras models."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.config import TrainConfig
from training.models import Model, augmenter
from training.progress import Epoch, Progress
from training.tensorflow_setup import keras


def fit(
    model: Model,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    config: TrainConfig,
    progress: Progress | None = None,
) -> None:
    """Train a model in place.

    Args:
        model: gives softmax probabilities.
        images: float32 [n, h, w, c].
        labels: int64 [n].
        config: epochs, batch size, learning rate, augmentation.
        progress: called at the end of every epoch.
    """
    trained = model
    if config.augmentation:
        shape = images.shape[1:]
        trained = keras.Sequential([augmenter(shape, config.augmentation), model])
    steps = config.epochs * -(-len(images) // config.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    trained.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # Networks this small would be compiled for longer than they are trained.
        jit_compile=False,
    )
    trained.fit(
        images,
        labels,
        batch_size=config.batch_size,
        epochs=config.epochs,
        verbose=0,
        callbacks=[] if progress is None else [_callback(progress, config.epochs)],
    )


def _callback(progress: Progress, epochs: int) -> Any:
    def on_epoch_end(epoch: int, logs: dict[str, float]) -> None:
        progress(Epoch(epoch + 1, epochs, logs["loss"], logs["accuracy"]))

    return keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)
