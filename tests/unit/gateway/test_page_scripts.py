"""The scripts of the pages, in Node: the same results as Python."""

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rockstar_contract import preprocessing
from rockstar_contract.preprocessing import Step, preprocess
from rockstar_serving.gateway.pages import PAGES
from rockstar_training.datasets import known_input
from tests.shared_data import shared_data

SCRIPTS = Path(__file__).parents[2] / "node"
RNG = np.random.default_rng(1)


def node(script: str, document: Any) -> Any:
    """What a script returns for a JSON document."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no Node.js")
    done = subprocess.run(
        [program, str(SCRIPTS / script), str(PAGES / "static")],
        input=json.dumps(document).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def in_page(images: Sequence[NDArray[np.uint8]], steps: Sequence[Step]) -> list[NDArray[Any]]:
    """Preprocess images, uint8 [h, w, c], as a page does."""
    document = [
        {
            "data": base64.b64encode(np.ascontiguousarray(image).tobytes()).decode(),
            **dict(zip(("height", "width", "channels"), image.shape, strict=True)),
            "steps": msgspec.to_builtins(steps),
        }
        for image in images
    ]
    return [
        np.frombuffer(base64.b64decode(each["data"]), np.float32).reshape(
            each["height"], each["width"], each["channels"]
        )
        for each in node("preprocess.mjs", document)
    ]


def assert_same(images: Sequence[NDArray[np.uint8]], steps: Sequence[Step], most: float) -> None:
    for image, tensor in zip(images, in_page(images, steps), strict=True):
        np.testing.assert_allclose(tensor, preprocess(image, steps), rtol=0, atol=most)


def on_paper(digit: Image.Image, index: int):
    """A digit written on uneven, grainy, ruled or framed paper, larger than models take."""
    width, height = (int(side) for side in RNG.integers(70, 420, 2))
    ink = np.asarray(digit.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    paper: NDArray[Any] = 255 - ink
    if index % 3 == 0:
        paper = paper * np.linspace(0.6, 1, width) + RNG.normal(0, 4, paper.shape)
    if index % 5 == 0:
        paper[::20] -= 90
    if index % 7 == 0:
        paper = np.pad(paper, 150, constant_values=210)
    return np.clip(paper, 0, 255).astype(np.uint8)[:, :, np.newaxis]


@pytest.fixture(scope="module")
def digits() -> list[Image.Image]:
    return [Image.open(path) for path in sorted(shared_data("digits-png").rglob("*.png"))]


@pytest.mark.parametrize("data", ["mnist", "digits", "fashion_mnist"])
def test_digits_are_preprocessed_as_in_python(digits, data):
    images = [np.asarray(digit)[:, :, np.newaxis] for digit in digits]
    assert_same(images, known_input(data).preprocessing, 1e-6)


def test_photographs_are_preprocessed_as_in_python(digits):
    images = [on_paper(digits[index], index) for index in range(0, 600, 45)]
    # Areas of large photographs are averaged with slightly different rounding.
    assert_same(images, known_input("mnist").preprocessing, 0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_step_is_as_in_python(channels):
    noise = [
        RNG.integers(0, 256, (*RNG.integers(13, 60, 2), channels), dtype=np.uint8) for _ in range(5)
    ]
    framed = [np.pad(255 - each // 4, ((3, 3), (3, 3), (0, 0))) for each in noise]
    even = [np.full((9, 7, channels), value, np.uint8) for value in (0, 7, 255)]
    steps: list[tuple[Step, ...]] = [
        (preprocessing.Colour(), preprocessing.Scale(), preprocessing.Resize(11, 30)),
        (preprocessing.Grey(), preprocessing.Scale(127.5), preprocessing.StretchContrast()),
        (preprocessing.Scale(), preprocessing.TrimFrame(0.3), preprocessing.InvertIfLight()),
        (
            preprocessing.Scale(),
            preprocessing.SuppressBackground(0.3),
            preprocessing.CropToContent(0.9),
            preprocessing.Fit(17, 40),
            preprocessing.Centre(41, 41),
        ),
        (
            preprocessing.Scale(),
            preprocessing.SuppressBorder(0.25, 1.5, 0.4),
            preprocessing.Fit(30, 17),
            preprocessing.CentreOnCell(30, 20),
        ),
    ]
    for each in steps:
        assert_same([*noise, *framed, *even], each, 1e-6)


def test_the_page_knows_every_step():
    known = node("steps.mjs", [step.__struct_config__.tag for step in preprocessing.Step.__args__])
    assert known == []


ACTIVATIONS = ("linear", "tanh", "relu", "prelu", "sigmoid", "arctan", "softsign")


def training(activation: str, outputs: int, **options: Any) -> dict[str, Any]:
    inputs = RNG.normal(size=(12, 3))
    labels = RNG.integers(0, max(2, outputs), 12)
    return {
        "sizes": [3, 5, 4, outputs],
        "activation": activation,
        "options": {"learningRate": 0.1, **options},
        "inputs": inputs.ravel().tolist(),
        "labels": labels.tolist(),
        "steps": 20,
    }


def test_gradients_of_networks_are_finite_differences():
    penalties: list[dict[str, Any]] = [
        {},
        {"regularization": "L1", "rate": 0.1},
        {"regularization": "L2", "rate": 0.1},
    ]
    jobs = [
        training(activation, outputs, **penalty)
        for activation in ACTIVATIONS
        for outputs in (1, 3)
        for penalty in penalties
    ]
    for job, trained in zip(jobs, node("network.mjs", jobs), strict=True):
        for gradient, numeric in zip(trained["gradients"], trained["numeric"], strict=True):
            np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7, err_msg=str(job))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("optimizer", ["gradient descent", "Adam"])
def test_networks_learn_as_in_numpy(outputs, optimizer):
    job = training("tanh", outputs, optimizer=optimizer, regularization="L2", rate=0.01)
    (trained,) = node("network.mjs", [job])
    x, labels = np.reshape(job["inputs"], (12, 3)), np.array(job["labels"])
    # The slopes, which only PReLU has, are empty.
    values = [np.array(each, np.float64) for each in trained["before"]]
    moments = [np.zeros((2, *each.shape)) for each in values]
    truth = labels[:, np.newaxis] if outputs == 1 else np.eye(outputs)[labels]
    for step in range(1, job["steps"] + 1):
        weights = [
            each.reshape(len(bias), -1)
            for each, bias in zip(values[::3], values[1::3], strict=True)
        ]
        layers = [x]
        for each, bias in zip(weights, values[1::3], strict=True):
            layers.append(np.tanh(layers[-1] @ each.T + bias))
        logits = layers[2] @ weights[2].T + values[7]
        powers = np.exp(logits)
        found = powers / (1 + powers if outputs == 1 else powers.sum(axis=1, keepdims=True))
        errors, gradients = (found - truth) / len(x), [np.empty(0)] * 9
        for layer in (2, 1, 0):
            gradients[3 * layer] = (errors.T @ layers[layer] + 0.01 * weights[layer]).ravel()
            gradients[3 * layer + 1] = errors.sum(axis=0)
            errors = errors @ weights[layer] * (1 - layers[layer] ** 2)
        for value, gradient, moment in zip(values, gradients, moments, strict=True):
            if optimizer == "gradient descent":
                value -= 0.1 * gradient
                continue
            moment[0] = 0.9 * moment[0] + 0.1 * gradient
            moment[1] = 0.999 * moment[1] + 0.001 * gradient**2
            corrected = moment[0] / (1 - 0.9**step), np.sqrt(moment[1] / (1 - 0.999**step))
            # Keras adds its epsilon before the correction.
            value -= 0.1 * corrected[0] / (corrected[1] + 1e-7 / np.sqrt(1 - 0.999**step))
    for one, other in zip(trained["after"], values, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
