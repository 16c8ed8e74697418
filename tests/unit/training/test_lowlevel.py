import numpy as np
import pytest

from rockstar_training import lowlevel
from rockstar_training.config import ACTIVATIONS, config_for
from rockstar_training.networks import create
from rockstar_training.prepared_data import Task
from rockstar_training.tensorflow_setup import keras, tf

IMAGE = Task((10, 13, 2), 4)
CASES = [
    ("linear", {}, Task((3,), None)),
    ("logistic", {}, IMAGE),
    *[("mlp", {"hidden": (130, 8), "activation": name}, IMAGE) for name in ACTIVATIONS],
    ("mlp", {"augmentation": 0.0}, Task((3,), None, target_mean=9.0, target_std=2.0)),
    ("cnn", {"preset": "lecture"}, IMAGE),
]


@pytest.mark.parametrize(("model", "settings", "task"), CASES)
def test_the_same_weights_give_the_same_outputs_in_both_apis(model, settings, task):
    random = np.random.default_rng(5)
    ours = create(config_for(model, api="core", **settings), task)
    keras_own = create(config_for(model, **settings), task)
    assert [v.shape for v in ours.weights] == [v.shape for v in keras_own.weights]
    for own, other in zip(ours.weights, keras_own.weights, strict=True):
        own.assign(random.normal(size=own.shape, scale=0.1))
        other.assign(own)
    x = tf.constant(random.uniform(size=(5, *task.shape)).astype(np.float32))
    np.testing.assert_allclose(ours.scores(x), keras_own.scores(x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.predict(x), keras_own.predict(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("ours", "kind"),
    [(lowlevel.GradientDescent, keras.optimizers.SGD), (lowlevel.Adam, keras.optimizers.Adam)],
)
def test_optimizers_take_the_same_steps_as_those_of_keras(ours, kind):
    start = np.array([1.0, -2.0, 0.5], np.float32)
    own, other = tf.Variable(start), keras.Variable(start)
    optimizer, reference = ours([own], lambda _: tf.constant(0.1)), kind(0.1)
    for gradient in ([0.3, -4.0, 0.0], [0.1, 2.0, 1e-3], [-5.0, 0.0, 1e-3]):
        optimizer.apply([tf.constant(gradient)])
        reference.apply([tf.constant(gradient)], [other])
    np.testing.assert_allclose(own, other.numpy(), rtol=1e-5)


def test_dropout_is_for_training_and_repeats_with_its_seed():
    network = create(config_for("cnn", api="core"), IMAGE)
    x = tf.ones([2, *IMAGE.shape])
    one, same, other = (network.scores(x, tf.constant([1, n], tf.int64)) for n in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0
    np.testing.assert_array_equal(network.scores(x), network.scores(x))
