"""One process of a distributed training; the results go to files in a folder.

python -m tests.unit.training.worker FOLDER REPLICAS API:MODEL …
"""

import sys
from pathlib import Path

import numpy as np

from rockstar_training.config import config_for
from rockstar_training.fit import Fitted, fit
from rockstar_training.tensorflow_setup import make_repeatable, strategy, tf
from tests.unit.training.small_data import TASK, blobs


def train(api: str, model: str, devices: object) -> Fitted:
    """Batches of 7, so that they cannot be divided evenly; augmented as for fashion_mnist.

    Not digits, because for them each device also creates images of no class from its examples.
    """
    settings = {"epochs": 3, "batch_size": 7, "augmentation": 0.5, "patience": 3}
    config = config_for(model, api=api, data="fashion_mnist", **settings)
    make_repeatable(config.seed)
    return fit(TASK, blobs(39), blobs(9, 1), config, strategy=devices)


def save(fitted: Fitted, file: Path) -> None:
    """Weights, and the losses of all epochs."""
    weights = {f"w{n}": variable.numpy() for n, variable in enumerate(fitted.network.weights)}
    losses = [(epoch.loss, epoch.val_loss) for epoch in fitted.history]
    np.savez(file, losses=np.array(losses), **weights)


def main(folder: str, replicas: str, *jobs: str) -> None:
    """Train in the cluster of TF_CONFIG, or on several devices of this process."""
    if int(replicas) > 1:
        (cpu,) = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(int(replicas))]
        tf.config.set_logical_device_configuration(cpu, parts)
        chosen = tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(int(replicas))])
    else:
        chosen = strategy()
    for job in jobs:
        api, model = job.split(":")
        save(train(api, model, chosen), Path(folder) / f"{api}-{model}.npz")


if __name__ == "__main__":
    main(*sys.argv[1:])
