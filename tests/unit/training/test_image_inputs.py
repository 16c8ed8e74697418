import numpy as np
from PIL import Image

from rockstar_contract.preprocessing import preprocess
from rockstar_training.datasets import fashion_mnist_input, mnist_input
from rockstar_training.image_folders import folder_input
from tests.shared_data import shared_data

STEPS = mnist_input().preprocessing


def some_digits(count: int = 200) -> np.ndarray:
    files = sorted(shared_data("digits-png").glob("*/*.png"))[:: 600 // count]
    return np.stack([np.asarray(Image.open(file)) for file in files])


def enlarged(digit: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC))


def prepared(pixels: np.ndarray) -> np.ndarray:
    return preprocess(pixels[:, :, np.newaxis], STEPS)[:, :, 0]


def like(first: np.ndarray, second: np.ndarray) -> float:
    """1 for the same image, 0 for unrelated ones."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_images_of_mnist_stay_as_they_are():
    digits = some_digits()
    change = np.abs(np.stack([prepared(digit) for digit in digits]) - digits / 255)
    assert change.mean() < 0.001
    assert (change.max(axis=(1, 2)) < 0.01).mean() > 0.75


def test_drawings_of_any_size_and_place_become_like_mnist():
    alike = []
    for number, digit in enumerate(some_digits(50)):
        canvas = np.zeros((400, 300), np.uint8)
        top, left = (number * 37) % 250, (number * 53) % 150
        canvas[top : top + 140, left : left + 140] = enlarged(digit, 140)
        alike.append(like(prepared(canvas), digit))
    assert np.median(alike) > 0.95
    assert np.mean(np.array(alike) > 0.8) > 0.9


def test_photos_of_ink_on_uneven_grainy_paper_become_like_mnist():
    noise = np.random.default_rng(0)
    light = np.linspace(190, 215, 300)
    alike = []
    for digit in some_digits(50):
        ink = np.pad(enlarged(digit, 200), 50) / 255.0
        photo = light - 120 * ink + noise.normal(0, 4, ink.shape)
        alike.append(like(prepared(np.clip(photo, 0, 255).astype(np.uint8)), digit))
    assert np.median(alike) > 0.9
    assert np.mean(np.array(alike) > 0.7) > 0.95


def test_clothes_of_28_x_28_keep_their_place():
    image = np.zeros((28, 28, 1), np.uint8)
    image[3:20, 5:9] = 255
    np.testing.assert_array_equal(
        preprocess(image, fashion_mnist_input().preprocessing), image / np.float32(255)
    )


def test_folders_take_grey_and_colour_whatever_comes():
    noise = np.random.default_rng(0)
    for channels in (1, 3):
        spec = folder_input(16, channels)
        for came in (1, 3):
            pixels = noise.integers(0, 256, (30, 20, came), dtype=np.uint8)
            assert preprocess(pixels, spec.preprocessing).shape == spec.shape == (16, 16, channels)
