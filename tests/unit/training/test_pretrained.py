"""Training on a pretrained backbone."""

import dataclasses

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from rockstar_contract.inputs import prepare as serve
from rockstar_training import pretrained
from rockstar_training.config import config_for
from rockstar_training.errors import ConfigError
from rockstar_training.export import export
from rockstar_training.networks import create
from rockstar_training.prepared_data import Task, prepare_data
from rockstar_training.pretrained import build
from rockstar_training.tensorflow_setup import keras, tf
from rockstar_training.train import train_and_evaluate
from tests.unit.training import toys
from tests.unit.training.small_data import write_shades

# Keras saves its variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

layers = keras.layers
COLOUR, GREY = Task((16, 16, 3), 2), Task((16, 16, 1), 2)
IMAGES = np.random.default_rng(0).random((3, 16, 16, 3), dtype=np.float32)


def saved(tmp_path, *stack, shape=(16, 16, 3), name="mine"):
    """A backbone as a file: these layers with their weights."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input(shape), *stack], name=name)
    model.save(tmp_path / "mine.keras")
    return model, str(tmp_path / "mine.keras")


def conv(**options):
    # With some weights all four filters are dead after a ReLU, for one in sixteen seeds.
    return layers.Conv2D(4, 3, kernel_initializer=keras.initializers.GlorotUniform(1), **options)


def config_of(file, **settings):
    return config_for("cnn", data="folder:photos", pretrained=file, **settings)


def features(model, images):
    """The backbone's output before pooling."""
    return np.asarray(model.get_layer("backbone")(tf.constant(images)))


@pytest.fixture
def shades(tmp_path):
    return write_shades(tmp_path / "photos", 30, (20, 24, 3))


def test_a_plain_backbone_gets_inputs_as_in_the_contract(tmp_path):
    backbone, file = saved(tmp_path, conv())
    model = build(config_of(file), COLOUR, unfrozen=False)
    np.testing.assert_allclose(features(model, IMAGES), backbone(IMAGES), rtol=1e-5)
    assert model.output_shape == (None, 2)


@pytest.mark.parametrize("first", ["rescaling", "normalization", "nested"])
def test_a_backbone_that_scales_pixels_itself_gets_them_as_they_are(tmp_path, first):
    stack = {
        "rescaling": [layers.Rescaling(1 / 127.5, -1), conv()],
        "normalization": [layers.Normalization(mean=[100, 100, 100], variance=[9, 9, 9]), conv()],
        "nested": [keras.Sequential([keras.Input((16, 16, 3)), layers.Rescaling(1 / 255), conv()])],
    }[first]
    backbone, file = saved(tmp_path, *stack, name="mobilenetv2_1.00_224")
    model = build(config_of(file), COLOUR, unfrozen=False)
    np.testing.assert_allclose(features(model, IMAGES), backbone(255 * IMAGES), rtol=1e-4)


def test_arithmetic_before_the_first_layer_scales_pixels_too(tmp_path):
    images = keras.Input((16, 16, 3))
    backbone = keras.Model(images, conv()(images / 127.5 - 1), name="resnet50")
    backbone.save(tmp_path / "mine.keras")
    model = build(config_of(str(tmp_path / "mine.keras")), COLOUR, unfrozen=False)
    np.testing.assert_allclose(features(model, IMAGES), backbone(255 * IMAGES), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("mobilenetv2_1.00_224", keras.applications.mobilenet_v2),
        ("resnet50", keras.applications.resnet),
        ("resnet50v2", keras.applications.resnet_v2),
        ("densenet121", keras.applications.densenet),
        ("vgg16", keras.applications.vgg16),
        ("xception", keras.applications.xception),
    ],
)
def test_a_network_of_keras_gets_the_inputs_of_its_kind(tmp_path, name, module):
    backbone, file = saved(tmp_path, conv(), name=name)
    model = build(config_of(file), COLOUR, unfrozen=False)
    wanted = backbone(module.preprocess_input(255 * IMAGES))
    np.testing.assert_allclose(features(model, IMAGES), wanted, rtol=1e-3, atol=1e-3)


def test_the_range_can_be_given(tmp_path):
    backbone, file = saved(tmp_path, conv(), name="vgg16")
    model = build(config_of(file, pretrained_input="tf"), COLOUR, unfrozen=False)
    np.testing.assert_allclose(features(model, IMAGES), backbone(2 * IMAGES - 1), rtol=1e-4)


def test_gray_images_of_another_size_are_converted_for_the_backbone(tmp_path):
    backbone, file = saved(tmp_path, conv(), shape=(32, 32, 3))
    grey = IMAGES[..., :1]
    model = build(config_of(file), GREY, unfrozen=False)
    wanted = backbone(tf.image.resize(np.repeat(grey, 3, axis=3), (32, 32)))
    np.testing.assert_allclose(features(model, grey), wanted, rtol=1e-4)


@pytest.mark.parametrize("softmax", ["in the layer", "after it"])
def test_the_classes_of_the_file_are_left_out(tmp_path, softmax):
    stack = [conv(), layers.GlobalMaxPooling2D(name="found"), layers.Dropout(0.5)]
    if softmax == "in the layer":
        backbone, file = saved(tmp_path, *stack, layers.Dense(7, activation="softmax"))
    else:
        backbone, file = saved(tmp_path, *stack, layers.Dense(7), layers.Softmax())
    model = build(config_of(file), COLOUR, unfrozen=False)
    wanted = keras.Model(backbone.inputs[0], backbone.get_layer("found").output)(IMAGES)
    np.testing.assert_allclose(features(model, IMAGES), wanted, rtol=1e-5)


def test_a_network_by_name(monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS", None)
    model = build(config_of("mobilenet_v2"), COLOUR, unfrozen=False)
    backbone = model.get_layer("backbone").model
    assert (backbone.input_shape, backbone.output_shape) == ((None, 96, 96, 3), (None, 3, 3, 1280))
    resized = tf.image.resize(IMAGES, (96, 96))
    wanted = backbone(keras.applications.mobilenet_v2.preprocess_input(255 * resized))
    np.testing.assert_allclose(features(model, IMAGES), wanted, rtol=1e-3, atol=1e-5)


def test_fine_tuning_trains_the_backbone_but_does_not_normalize_anew(tmp_path):
    file = saved(tmp_path, conv(), layers.BatchNormalization(), layers.ReLU())[1]
    frozen = create(config_of(file), COLOUR)
    assert [tuple(v.shape) for v in frozen.trainable] == [(4, 2), (2,)]
    tuned = create(config_of(file), COLOUR, unfrozen=True)
    tuned.set_weights(frozen.get_weights())
    assert len(tuned.trainable) == 6
    model = tuned.model.get_layer("backbone").model
    before = [variable.numpy() for variable in model.non_trainable_variables]
    tuned.scores(tf.constant(IMAGES), seed=tf.constant([1, 2]))
    for variable, value in zip(model.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("fine_tune", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_small_folder_is_learnt_exported_and_served(tmp_path, shades, fine_tune):
    file = saved(tmp_path, layers.Rescaling(1 / 255), conv(activation="relu"))[1]
    config = config_for(
        "cnn",
        data=shades,
        pretrained=file,
        epochs=6,
        learning_rate=0.1,
        fine_tune=fine_tune,
        mixed_precision="off",
    )
    epochs = []
    result = train_and_evaluate(config, tmp_path, lambda epoch: epochs.append(epoch.number))
    assert result.metrics["test_accuracy"] == 1
    assert any("pixels as 0-255; if it was trained on others" in note for note in result.notes)
    assert epochs == list(range(1, len(result.history) + 1))
    assert len(epochs) >= 6 + fine_tune or any("better" in note for note in result.notes)
    spec = result.contract.input
    assert (spec.shape, spec.range) == ((16, 16, 3), (0.0, 1.0))
    interpreter = Interpreter(str(result.folder / "edge.tflite"))
    interpreter.allocate_tensors()
    image = next((tmp_path / "photos" / "light").iterdir()).read_bytes()
    tensor = serve(image, spec, field="image")[np.newaxis]
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert answer.argmax() == result.contract.labels.index("light")
    loaded = tf.saved_model.load(str(result.folder)).signatures["serving_default"]
    np.testing.assert_allclose(
        loaded(image=tf.constant(tensor))["probabilities"], answer, atol=1e-5
    )


def test_custom_gradients_do_not_prevent_the_export(tmp_path):
    images = keras.Input((20, 20, 1))
    pooled = layers.GlobalAveragePooling2D()(conv(activation="silu")(images))
    model = keras.Model(images, layers.Dense(10, activation="softmax")(pooled))
    trackables = [variable.value for variable in model.variables]
    export(lambda x: model(x, training=False), trackables, toys.draft(), toys.golden(), tmp_path)
    assert (tmp_path / "toy" / "1" / "edge.tflite").is_file()


def test_images_of_the_size_that_the_file_takes(tmp_path, shades):
    file = saved(tmp_path, conv(), shape=(40, 40, 3))[1]
    config = dataclasses.replace(config_of(file), data=shades)
    assert prepare_data(config).input.shape == (40, 40, 3)
    assert prepare_data(dataclasses.replace(config, image_size=12)).input.shape == (12, 12, 3)
    any_size = saved(tmp_path, conv(), shape=(None, None, 3))[1]
    assert prepare_data(dataclasses.replace(config, pretrained=any_size)).input.shape[0] == 224


def test_files_that_cannot_be_used(tmp_path, shades):
    config = dataclasses.replace(config_of(str(tmp_path / "none.keras")), data=shades)
    with pytest.raises(ConfigError, match=r"pretrained: no such file: .*none\.keras"):
        prepare_data(config)
    (tmp_path / "none.keras").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"expected a model saved by Keras 3 as \.keras"):
        prepare_data(config)
    file = saved(tmp_path, layers.Lambda(lambda x: x * 2), conv())[1]
    with pytest.raises(ConfigError, match=r"mine\.keras cannot be loaded: .*without Lambda layers"):
        build(config_of(file), COLOUR, unfrozen=False)
    file = saved(tmp_path, conv(), shape=(16, 16, 2))[1]
    with pytest.raises(ConfigError, match=r"for images of 3 channels, .* takes 2"):
        build(config_of(file), COLOUR, unfrozen=False)
    file = saved(tmp_path, layers.Dense(3), shape=(16,))[1]
    with pytest.raises(ConfigError, match="one input of images"):
        build(config_of(file), COLOUR, unfrozen=False)


def test_names_that_cannot_be_used(monkeypatch):
    with pytest.raises(ConfigError, match=r"or one of ConvNeXtBase, .*, got 'mobilnet'"):
        build(config_of("mobilnet"), COLOUR, unfrozen=False)
    monkeypatch.setattr(pretrained, "WEIGHTS", "/nowhere/weights.h5")
    with pytest.raises(
        ConfigError, match=r"Without a connection, save it .*--pretrained MobileNet"
    ):
        build(config_of("MobileNet"), COLOUR, unfrozen=False)
