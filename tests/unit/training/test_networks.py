import numpy as np
import pytest

from rockstar_training.config import ACTIVATIONS, config_for
from rockstar_training.errors import ConfigError
from rockstar_training.networks import build, create, multiply_adds
from rockstar_training.prepared_data import Task
from rockstar_training.tensorflow_setup import freeze, keras, tf

DIGIT = Task((28, 28, 1), 10)
ROWS = Task((6,), None, target_mean=50.0, target_std=7.0)


def inputs(shape, count=3):
    return np.random.default_rng(0).uniform(size=(count, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("model", "settings", "task"),
    [
        ("logistic", {}, DIGIT),
        ("logistic", {}, Task((6,), 3)),
        ("mlp", {"hidden": (32, 16), "augmentation": 0.0}, Task((6,), 3)),
        ("mlp", {}, Task((12, 10, 3), 2)),
        ("cnn", {}, DIGIT),
        ("cnn", {}, Task((8, 8, 1), 10)),
        ("cnn", {}, Task((96, 64, 3), 2)),
        ("cnn", {"preset": "lecture"}, Task((9, 11, 3), 4)),
    ],
)
def test_classifiers_return_probabilities(model, settings, task):
    network = build(config_for(model, **settings), task)
    answers = np.asarray(network(inputs(task.shape)))
    assert answers.shape == (3, task.classes)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)


def test_regressions_return_one_value_in_the_units_of_the_targets():
    answers = np.asarray(build(config_for("mlp", augmentation=0.0), ROWS)(inputs((6,))))
    assert answers.shape == (3, 1)
    np.testing.assert_array_less(np.abs(answers - 50), 10 * 7)
    assert build(config_for("linear"), ROWS)(inputs((6,))).shape == (3, 1)


@pytest.mark.parametrize(
    ("model", "task", "message"),
    [
        (
            "linear",
            DIGIT,
            "model: expected logistic or mlp or cnn where labels are to be predicted",
        ),
        ("cnn", ROWS, "model: expected linear or mlp where a number is to be predicted"),
        ("cnn", Task((6,), 3), "model: cnn and augmentation are for images, the data are rows"),
        ("mlp", Task((6,), 3), "augmentation: cnn and augmentation are for images"),
    ],
)
@pytest.mark.parametrize("api", ["keras", "core"])
def test_a_model_that_cannot_learn_the_task_is_refused(model, task, message, api):
    with pytest.raises(ConfigError, match=message):
        create(config_for(model, api=api), task)


def test_multiply_adds_are_those_of_the_lecture_and_ours_are_fewer_than_half():
    lecture = multiply_adds(build(config_for("cnn", preset="lecture"), DIGIT))
    assert lecture == 28**2 * 25 * 32 + 14**2 * 25 * 32 * 64 + 7**2 * 64 * 1024 + 1024 * 10
    assert multiply_adds(build(config_for("cnn"), DIGIT)) < lecture / 2
    assert multiply_adds(build(config_for("logistic"), DIGIT)) == 7840


def test_a_larger_image_costs_more_in_proportion_only():
    large, small = (
        multiply_adds(build(config_for("cnn"), Task((side, side, 3), 2))) for side in (112, 28)
    )
    assert large / small < 1.2 * (112 / 28) ** 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("api", ["keras", "core"])
def test_every_activation_is_one_that_litert_knows(activation, api):
    config = config_for("mlp", hidden=(16,), activation=activation, augmentation=0.0, api=api)
    network = create(config, Task((6,), 3))
    spec = tf.TensorSpec([None, 6], tf.float32)
    function = freeze(tf.function(network.predict, input_signature=[spec]).get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    assert len(converter.convert()) > 0


def test_mixed_precision_keeps_variables_and_outputs_in_float32():
    model = build(config_for("cnn"), Task((12, 12, 1), 3), "mixed_bfloat16")
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model(inputs((12, 12, 1))).dtype == tf.float32
    assert model.get_layer("conv_1").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
