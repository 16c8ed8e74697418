import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rockstar_training.config import config_for
from rockstar_training.errors import StoppedError, TrainingError
from rockstar_training.fit import fit
from rockstar_training.prepared_data import Task
from rockstar_training.progress import Epoch
from rockstar_training.tensorflow_setup import make_repeatable
from tests.unit.training.small_data import TASK, blobs, line, make_part

ROOT = Path(__file__).parents[3]
DROPOUT = {"hidden": (128,), "epochs": 6, "batch_size": 16, "augmentation": 1.0}


def weights(fitted):
    return [variable.numpy() for variable in fitted.network.weights]


def trained(config, folder=None, progress=None, task=TASK):
    make_repeatable(config.seed)
    return fit(task, blobs(60), blobs(30, 1), config, folder=folder, progress=progress)


@pytest.mark.parametrize("api", ["keras", "core"])
def test_gradient_descent_finds_the_line(api):
    fitted = fit(Task((1,), None), line(), None, config_for("linear", api=api, epochs=800))
    (w,), (b,) = (variable.numpy().ravel() for variable in fitted.network.weights)
    assert w == pytest.approx(-1, abs=1e-5)
    assert b == pytest.approx(1, abs=1e-5)
    assert fitted.history[-1].loss < 1e-9
    assert fitted.history[-1].accuracy is None


@pytest.mark.parametrize("api", ["keras", "core"])
def test_a_network_learns_values_of_any_size(api):
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    y = 1e5 + 2e4 * np.tanh(x[:, 0]) * x[:, 1]
    config = config_for("mlp", data="csv:rows", api=api, hidden=(32,), learning_rate=0.02)
    task = Task((3,), None, target_mean=float(y.mean()), target_std=float(y.std()))
    make_repeatable(config.seed)
    fitted = fit(task, make_part(x, y.astype(np.float32)), None, config)
    answers = np.asarray(fitted.network.predict(x))[:, 0]
    assert np.mean((answers - y) ** 2) / y.var() < 0.02


@pytest.mark.parametrize("api", ["keras", "core"])
@pytest.mark.parametrize("model", ["logistic", "mlp", "cnn"])
def test_every_classifier_learns_in_both_apis(model, api):
    # MNIST's augmentation, because that of the bundled digits would hide small blobs.
    settings = {"data": "mnist", "epochs": 12, "batch_size": 8, "learning_rate": 0.004}
    fitted = trained(config_for(model, api=api, augmentation=0.2, patience=0, **settings))
    assert [epoch.number for epoch in fitted.history] == list(range(1, 13))
    assert [epoch.last for epoch in fitted.history] == [False] * 11 + [True]
    last = fitted.history[-1]
    assert last.val_accuracy == 1
    assert last.val_loss < fitted.history[0].val_loss
    answers = np.asarray(fitted.network.predict(blobs(30, 1).examples.array))
    assert (answers.argmax(axis=1) == blobs(30, 1).targets).all()


@pytest.mark.parametrize("api", ["keras", "core"])
def test_the_same_seed_gives_the_same_weights(api):
    short = {**DROPOUT, "api": api, "epochs": 2}
    first, same = (trained(config_for("mlp", **short)) for _ in range(2))
    other = trained(config_for("mlp", seed=2, **short))
    for one, two, three in zip(weights(first), weights(same), weights(other), strict=True):
        np.testing.assert_array_equal(one, two)
        assert np.abs(one - three).max() > 0


def test_it_stops_when_validation_gets_no_better_and_keeps_the_best():
    epochs: list[Epoch] = []
    config = config_for("logistic", epochs=500, learning_rate=1.0, patience=3, batch_size=4)
    make_repeatable(1)
    # Random labels, so that learning them does not generalize.
    random = np.random.default_rng(3)
    noise, other = (
        make_part(random.uniform(size=(24, 6, 6, 1)), random.integers(0, 3, 24)) for _ in range(2)
    )
    fitted = fit(TASK, noise, other, config, progress=epochs.append)
    losses = [epoch.val_loss for epoch in fitted.history]
    assert len(losses) == losses.index(min(losses)) + 1 + 3 < 500
    assert epochs == fitted.history
    assert epochs[-1].last
    answers = np.asarray(fitted.network.predict(other.examples.array))
    own = -np.log(answers[np.arange(24), other.targets]).mean()
    assert own == pytest.approx(min(losses), rel=1e-4)


def test_the_rate_rises_and_then_falls_to_zero():
    history = trained(config_for("mlp", epochs=20, batch_size=8, learning_rate=0.01)).history
    rates = [epoch.learning_rate for epoch in history]
    assert max(rates) == pytest.approx(0.01, rel=0.01)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 1e-5


def test_a_far_too_high_rate_is_an_error():
    with pytest.raises(TrainingError, match=r"epoch .* try a --learning-rate below 3"):
        fit(Task((1,), None), line(), None, config_for("linear", learning_rate=3.0))


def test_ctrl_c_stops_it_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("rockstar_training.fit.SECONDS_BETWEEN", 0)

    def interrupt(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    config = config_for("mlp", **DROPOUT)
    with pytest.raises(StoppedError, match=r"stopped in epoch 3 of 6; .* continues after epoch 2"):
        trained(config, tmp_path, interrupt)
    with pytest.raises(StoppedError, match="no checkpoint was due yet"):
        trained(config, None, interrupt)


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_like_one_that_was_not(tmp_path):
    config = config_for("mlp", patience=5, **DROPOUT)
    epochs: list[Epoch] = []
    with pytest.raises(subprocess.CalledProcessError) as killed:
        subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, check=True, timeout=120)
    assert killed.value.returncode == -signal.SIGKILL
    resumed = trained(config, tmp_path, epochs.append)
    assert [epoch.number for epoch in epochs] == [4, 5, 6]
    whole = trained(config)
    for one, two in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_array_equal(one, two)
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in whole.history]


KILLED = """
import os, signal, sys
from pathlib import Path
import rockstar_training.fit
from tests.unit.training.test_fit import DROPOUT, trained
from rockstar_training.config import config_for

rockstar_training.fit.SECONDS_BETWEEN = 0

def kill(epoch):
    if epoch.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)

trained(config_for("mlp", patience=5, **DROPOUT), Path(sys.argv[1]), kill)
"""


def test_an_unreadable_checkpoint_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("rockstar_training.fit.SECONDS_BETWEEN", 0)
    config = config_for("mlp", **DROPOUT)
    trained(config, tmp_path)
    for path in tmp_path.glob("ckpt*.data*"):
        os.truncate(path, 10)
    with pytest.raises(TrainingError, match=r"cannot be read .*: remove the folder"):
        trained(config, tmp_path)


@pytest.mark.parametrize("api", ["keras", "core"])
def test_tensorboard_gets_the_curves(tmp_path, api):
    trained(config_for("logistic", api=api, epochs=2, tensorboard=True), tmp_path)
    for part, metrics in (("train", ("learning_rate", "loss")), ("validation", ("accuracy",))):
        (log,) = (tmp_path / "tensorboard" / part).iterdir()
        assert all(f"epoch_{metric}".encode() in log.read_bytes() for metric in metrics)


def test_tensorboard_starts():
    """It needs modules that newer releases of its own dependencies no longer have."""
    command = [sys.executable, "-W", "ignore", "-c", "import tensorboard.default"]
    subprocess.run(command, check=True)


def test_mixed_precision_trains_and_predicts_in_float32():
    settings = {"data": "mnist", "epochs": 12, "batch_size": 8, "learning_rate": 0.003}
    config = config_for("cnn", augmentation=0.2, mixed_precision="on", **settings)
    fitted = trained(config)
    answers = np.asarray(fitted.network.predict(blobs(30, 1).examples.array))
    assert (answers.argmax(axis=1) == blobs(30, 1).targets).all()
    assert fitted.network.model.get_layer("conv_1").compute_dtype == "float32"
