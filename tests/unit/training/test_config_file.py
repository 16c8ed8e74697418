import json

import pytest

from rockstar_training.config import config_for, read_config, to_json
from rockstar_training.errors import ConfigError


@pytest.mark.parametrize(
    "config",
    [
        config_for("linear", data="csv:houses.csv", target="price"),
        config_for("mlp", hidden=(8, 4), activation="prelu", tensorboard=True),
        config_for("cnn", api="core", name="lecture", seed=3),
    ],
)
def test_what_was_written_is_read_again(tmp_path, config):
    (tmp_path / "config.json").write_text(to_json(config))
    assert read_config(tmp_path / "config.json") == config


def test_the_command_line_comes_first_and_what_is_missing_has_its_default(tmp_path):
    (tmp_path / "config.json").write_text('{"model": "mlp", "epochs": 3, "learning_rate": 1}')
    config = read_config(tmp_path / "config.json", epochs=5, seed=None)
    assert (config.epochs, config.learning_rate) == (5, 1)
    assert config == config_for("mlp", epochs=5, learning_rate=1)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{"model": "mlp", "epoch": 3}', "unknown setting 'epoch'; there are: activation, api"),
        ('{"model": "mlp", "epochs": "3"}', "epochs: Expected `int`, got `str`"),
        ('{"model": "mlp", "epochs": 2.5}', "epochs: Expected `int`, got `float`"),
        ('{"model": "mlp", "hidden": 64}', "hidden: Expected `array`, got `int`"),
        ('{"model": "mlp", "api": "jax"}', "api: Invalid enum value 'jax'"),
        ('{"model": "mlp", "epochs": 0}', "epochs: expected 1 to 100000, got 0"),
        ('{"model": "rnn"}', "model: expected one of linear, logistic, mlp, cnn, got 'rnn'"),
        ('{"epochs": 3}', "model is missing"),
        ("[1]", "expected an object of settings"),
        ('{"model"', "not JSON"),
    ],
)
def test_bad_files_are_named_with_the_field(tmp_path, document, message):
    path = tmp_path / "config.json"
    path.write_text(document)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"missing.json: cannot be read: No such file"):
        read_config(tmp_path / "missing.json")


def test_json_has_a_line_for_each_setting():
    lines = to_json(config_for("mlp")).splitlines()
    assert '  "activation": "relu",' in lines
    assert json.loads("\n".join(lines))["hidden"] == [256]


def test_settings_of_another_model_are_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(to_json(config_for("logistic")))
    with pytest.raises(ConfigError, match=r"settings of a logistic, and cnn was asked for"):
        read_config(path, model="cnn")


@pytest.mark.parametrize(("written", "mode"), [("true", "dynamic"), ("false", "none")])
def test_quantization_as_written_before_there_were_modes(tmp_path, written, mode):
    (tmp_path / "config.json").write_text(f'{{"model": "mlp", "quantize": {written}}}')
    assert read_config(tmp_path / "config.json").quantize == mode
