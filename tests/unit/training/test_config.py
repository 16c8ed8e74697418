import dataclasses

import pytest

from training.config import DEFAULTS, MODELS, config_for
from training.errors import ConfigError, TrainingError


@pytest.mark.parametrize("model", MODELS)
def test_defaults_of_each_model(model):
    config = config_for(model)
    assert config.name == config.model == model
    assert config.epochs == DEFAULTS[model].epochs
    assert config.learning_rate == DEFAULTS[model].learning_rate
    assert config.test_fraction == 0.2


def test_what_is_given_replaces_the_default():
    config = config_for("cnn", name="nets-1.0", epochs=3, augmentation=0.0)
    assert (config.name, config.epochs, config.augmentation) == ("nets-1.0", 3, 0.0)
    assert config.batch_size == DEFAULTS["cnn"].batch_size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "rnn"}, "model: expected one of logistic, mlp, cnn, got 'rnn'"),
        ({"data": "cifar"}, "data: expected one of digits, got 'cifar'"),
        ({"name": "../x"}, "name: expected letters, digits, _ . -, got '../x'"),
        ({"name": ""}, "name: expected letters, digits, _ . -, got ''"),
        ({"epochs": 0}, "epochs: expected 1 to 10000, got 0"),
        ({"batch_size": 0}, "batch_size: expected 1 to 65536, got 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected more than 0 and at most 10, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate: .* got nan"),
        ({"augmentation": -1.0}, "augmentation: expected 0 to 3, got -1.0"),
        ({"seed": -1}, "seed: expected 0 to 4294967295, got -1"),
        ({"test_fraction": 1.0}, "test_fraction: expected between 0 and 1, got 1.0"),
    ],
)
def test_bad_values_name_their_field(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        dataclasses.replace(config_for("mlp"), **changes)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TrainingError)


def test_unknown_model_is_refused_before_its_defaults_are_looked_up():
    with pytest.raises(ConfigError, match="model: expected one of"):
        config_for("rnn")
