import dataclasses
from pathlib import Path

import pytest

from rockstar_training.config import (
    MODELS,
    DataSpec,
    config_for,
    defaults_for,
    parse_data,
    read_config,
    to_json,
)
from rockstar_training.errors import ConfigError, TrainingError


@pytest.mark.parametrize("model", MODELS)
def test_defaults_of_each_model(model):
    config, defaults = config_for(model), defaults_for(model, "digits")
    assert (config.name, config.model, config.data) == (model, model, "digits")
    assert (config.epochs, config.learning_rate) == (defaults.epochs, defaults.learning_rate)
    assert config.test_fraction == 0.2
    given = config_for(model, name="nets-1.0", epochs=3, augmentation=0.0)
    assert given == dataclasses.replace(config, name="nets-1.0", epochs=3, augmentation=0.0)


def test_defaults_follow_the_data_and_the_api():
    assert config_for("mlp").hidden == (256,)
    assert config_for("mlp", data="mnist").hidden == (512, 256)
    assert config_for("mlp", data="csv:rows.csv").augmentation == 0
    assert config_for("cnn").preset == "default"
    assert config_for("cnn", api="core").preset == "lecture"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "rnn"}, "model: expected one of linear, logistic, mlp, cnn, got 'rnn'"),
        ({"data": " "}, "data: expected digits, mnist"),
        ({"activation": "step"}, "activation: expected one of relu, .*, got 'step'"),
        ({"hidden": ()}, "hidden: expected at least one size, such as 512,256"),
        ({"hidden": (64, 0)}, "hidden: expected sizes of 1 to 65536, got 0"),
        ({"preset": "lecture"}, "preset: expected default unless model is cnn, got 'lecture'"),
        ({"api": "jax"}, "api: expected one of keras, core, got 'jax'"),
        ({"api": "core", "mixed_precision": "on"}, "mixed_precision: expected auto or off"),
        ({"mixed_precision": "yes"}, "mixed_precision: expected one of auto, on, off, got 'yes'"),
        ({"validation_fraction": 1.0}, "validation_fraction: expected 0 to less than 1, got 1.0"),
        ({"patience": -1}, "patience: expected 0 or more epochs, got -1"),
        ({"learning_rate": None}, "learning_rate: expected a number, got None"),
        ({"name": "../x"}, "name: expected letters, digits, _ . -, got '../x'"),
        ({"name": ""}, "name: expected letters, digits, _ . -, got ''"),
        ({"epochs": 0}, "epochs: expected 1 to 100000, got 0"),
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


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("rnn", {}, "model: expected one of"),
        ("logistic", {"hidden": (8,)}, "hidden: expected none with model logistic, got"),
        ("cnn", {"api": "core", "preset": "default"}, "preset: expected lecture with api core"),
        ("mlp", {"pretrained": "VGG16"}, "pretrained: expected none unless model is cnn"),
        ("cnn", {"pretrained": "VGG16", "api": "core"}, "pretrained: expected none with api core"),
        ("cnn", {"fine_tune": 3}, "fine_tune: expected 0 without pretrained"),
        ("cnn", {"pretrained": "VGG16", "pretrained_input": "rgb"}, "pretrained_input: expected"),
        ("mlp", {"folds": 5}, "folds: expected 0; others with data csv:FILE only"),
        ("mlp", {"test": "y"}, "test: expected none; with data csv:FILE or folder:DIR"),
        *[
            ("logistic", {"data": "csv:rows.csv", **settings}, message)
            for settings, message in (
                ({"split": "time"}, "expected random, group:COLUMN or time:COLUMN, got 'time'"),
                ({"split": "week:day"}, "split: expected"),
                ({"folds": 1}, "folds: expected 0 or 2 to 100, got 1"),
            )
        ],
    ],
)
def test_settings_that_do_not_go_together(model, settings, message):
    with pytest.raises(ConfigError, match=message):
        config_for(model, **settings)


def test_an_unknown_field_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="epoch"):
        config_for("mlp", epoch=3)


def test_small_tables_have_no_validation_rows_unless_requested(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x,y\n" + "1,a\n" * 150)
    data = f"csv:{path}"
    small = config_for("mlp", data=data)
    assert (small.validation_fraction, small.patience) == (0, 0)
    # As many epochs as 800 steps of 32 rows.
    assert small.epochs == 170
    assert config_for("mlp", data=data, patience=5).validation_fraction == 0.1
    assert config_for("mlp", data=data, validation="more.csv").patience == 20
    path.write_bytes(b"x,y\r" + b"1,a\r" * 150)
    assert config_for("mlp", data=data) == small
    path.write_text("x,y\n" + '1,"a\n\nb"\n\n' * 1000)
    assert config_for("mlp", data=data).validation_fraction == 0
    path.write_text("x,y\n" + "1,a\n" * 3000)
    large = config_for("mlp", data=data)
    assert (large.validation_fraction, large.patience, large.epochs) == (0.1, 20, 100)


@pytest.mark.parametrize(
    "config",
    [
        config_for("linear", data="csv:houses.csv", target="price"),
        config_for("mlp", hidden=(8, 4), activation="prelu", tensorboard=True),
        config_for("cnn", api="core", name="lecture", seed=3),
    ],
)
def test_a_written_file_can_be_read(tmp_path, config):
    text = to_json(config)
    (tmp_path / "config.json").write_text(text)
    assert read_config(tmp_path / "config.json") == config
    assert f'  "activation": "{config.activation}",' in text.splitlines()


def test_the_command_line_comes_first_and_missing_fields_have_defaults(tmp_path):
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


def test_settings_of_another_model_are_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(to_json(config_for("logistic")))
    with pytest.raises(ConfigError, match="expected settings of model cnn, got those of logistic"):
        read_config(path, model="cnn")


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist"])
def test_known_names(name):
    assert parse_data(name) == DataSpec("images", name)


def test_folders_and_files_are_named_without_the_folders_above():
    assert parse_data("folder:/data/my pets") == DataSpec(
        "folder", "folder:my pets", Path("/data/my pets")
    )
    assert parse_data("csv:a/b:c.csv") == DataSpec("csv", "csv:b:c.csv", Path("a/b:c.csv"))
    assert parse_data("folder:~").path == Path.home()


@pytest.mark.parametrize("text", ["", "cifar", "folder:", "csv: ", "zip:x", "Digits", ":x"])
def test_unknown_ones_are_rejected_with_the_known_ones(text):
    with pytest.raises(ConfigError, match=r"data: expected digits, .*csv:FILE, got "):
        parse_data(text)


def test_the_kind_of_a_path_is_proposed(tmp_path):
    (tmp_path / "rows.csv").touch()
    for path, wanted in ((tmp_path, "folder"), (tmp_path / "rows.csv", "csv")):
        with pytest.raises(ConfigError, match=f"did you mean {wanted}:{path}"):
            parse_data(str(path))
