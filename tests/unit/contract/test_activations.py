import numpy as np
import pytest

from rockstar_contract.activations import LayerReader, Neighbors, find_neighbors
from tests.model_fixtures import edge_model


@pytest.fixture(scope="module")
def reader():
    return LayerReader(edge_model())


def test_layers_come_in_order_with_their_values(reader):
    image = np.random.default_rng(1).normal(size=(8, 8, 1)).astype(np.float32)
    layers = reader.run(image)
    assert [name for name, _ in layers] == ["relu_1", "flat"]
    np.testing.assert_allclose(layers[0].values[:, :, 0], np.maximum(image[:, :, 0], 0))
    np.testing.assert_allclose(layers[0].values[:, :, 1], np.maximum(-image[:, :, 0], 0))
    np.testing.assert_allclose(reader.features(image), layers[0].values.ravel())


def test_a_damaged_file_is_an_error():
    with pytest.raises((ValueError, RuntimeError)):
        LayerReader(b"no model at all")


@pytest.fixture(scope="module")
def examples():
    """600 images of noise, of three labels."""
    images = np.random.default_rng(2).random((600, 8, 8, 1), dtype=np.float32)
    return images, np.arange(600) % 3


def test_an_example_is_nearest_to_itself(reader, examples):
    images, labels = examples
    found = find_neighbors(edge_model(), lambda rows: images[rows], labels, (0, 1))
    read = Neighbors.from_bytes(found.to_bytes())
    assert np.bincount(read.labels).tolist() == [40, 40, 40]
    for row in range(5):
        assert read.nearest(reader.features(images[row]), 3)[0] == row
        np.testing.assert_allclose(read.images[row] / 255, images[row], atol=0.002)


def test_fewer_examples_are_kept_if_they_do_not_fit(examples):
    """A file with 40 noisy images of each of 300 labels would have several times the size."""
    images, _ = examples
    labels = np.arange(12_000) % 300
    found = find_neighbors(edge_model(), lambda rows: images[rows % 600], labels, (0, 1))
    assert len(found.to_bytes()) <= 300_000
    counts = np.bincount(found.labels, minlength=300)
    assert counts.max() - counts.min() <= 1
