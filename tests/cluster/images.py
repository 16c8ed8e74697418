"""The images that the test deploys: two versions of a model, and a gateway."""

import shutil
import sys
from pathlib import Path

from tests.cluster.clusters import run

ROOT = Path(__file__).parents[2]
GATEWAY = "ghcr.io/rockstartf/gateway:cluster-test"


def model_server(version: int) -> str:
    """Name of the image whose newest version of cnn is this one."""
    return f"ghcr.io/rockstartf/model-server:cluster-test-{version}"


def train(work: Path) -> None:
    """Train the configured models briefly: in WORK/1/models, and with a second cnn in WORK/2."""
    first, second = work / "1", work / "2"
    for model in ("logistic", "mlp", "cnn"):
        _train(model, first)
    shutil.copytree(first, second)
    _train("cnn", second, "--seed=2")


def build(work: Path) -> list[str]:
    """Build all images from the models of `train`; returns their names."""
    _build("gateway", GATEWAY)
    for version in (1, 2):
        models = work / str(version) / "models"
        _build("model-server", model_server(version), f"--build-context=models={models}")
    return [GATEWAY, model_server(1), model_server(2)]


def _train(model: str, workdir: Path, *options: str) -> None:
    command = [sys.executable, "-m", "rockstar_cli", "train", model, f"--workdir={workdir}"]
    run([*command, "--epochs=6", *options])


def _build(target: str, name: str, *options: str) -> None:
    file = ROOT / "Dockerfile.cpu"
    run(
        [
            "docker",
            "build",
            f"--file={file}",
            f"--target={target}",
            f"--tag={name}",
            *options,
            str(ROOT),
        ]
    )
