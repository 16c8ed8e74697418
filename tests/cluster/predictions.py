"""Handwritten digits as PNG files, and a check of a service's predictions."""

import requests

from rockstar_training.datasets import load
from tests.cluster.clusters import ClusterTestError
from tests.images import png

# Minimum, after a short training, for digits most of which were trained on.
_LEAST_RIGHT = 0.8


def digits(count: int) -> list[tuple[bytes, str]]:
    """PNG files and their labels."""
    data = load("digits")
    return [
        (png(image[..., 0]), str(label))
        for image, label in zip(data.images[:count], data.labels[:count], strict=True)
    ]


def require_right_answers(url: str, model: str, version: int, count: int = 50) -> None:
    """Send digits one by one.

    Raises:
        ClusterTestError: a request fails, another version responds, or too many are wrong.
    """
    right = 0
    for image, label in digits(count):
        headers = {"Content-Type": "image/png"}
        response = requests.post(f"{url}/predict/{model}", data=image, headers=headers, timeout=30)
        if not response.ok:
            raise ClusterTestError(f"{url} answers {response.status_code}: {response.text}")
        answer = response.json()
        if answer["version"] != version:
            raise ClusterTestError(f"expected version {version}, got {answer['version']}")
        right += answer["predictions"][0]["label"] == label
    print(f"Version {version} of {model} reads {right} of {count} digits.", flush=True)
    if right < _LEAST_RIGHT * count:
        raise ClusterTestError(f"{model} should read {_LEAST_RIGHT:.0%} of the digits")
