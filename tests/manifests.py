"""Kubernetes manifests as `kubectl kustomize` renders them."""

import functools
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
K8S = ROOT / "k8s"
OVERLAYS = ("cpu", "gpu", "embedded")
COMPONENTS = tuple(sorted(folder.name for folder in (K8S / "components").iterdir()))
# Models come from one source, one autoscaler sets the number of gateways, and with TLS only gateways reach
# the model servers.
_EXCLUSIVE = (
    {"model-image", "model-storage-pvc", "model-storage-s3"},
    {"autoscale-inflight", "autoscale-keda"},
    {"gateway-api-grpc", "tls"},
)

Manifest = dict[str, Any]


def combinations() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each overlay alone and with each component, each valid pair of components, and `fullest`."""
    for overlay in OVERLAYS:
        yield overlay, ()
        yield from ((overlay, (component,)) for component in COMPONENTS)
    pairs = itertools.combinations(COMPONENTS, 2)
    valid = (pair for pair in pairs if not any(each.issuperset(pair) for each in _EXCLUSIVE))
    # On the overlays in turn: rendering takes a quarter of a second.
    yield from zip(itertools.cycle(OVERLAYS), valid, strict=False)
    yield from fullest()


def fullest() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each overlay with all components, of each exclusive set once with the first, the second and the last."""
    for overlay, chosen in itertools.product(OVERLAYS, range(3)):
        left_out = {
            name
            for each in _EXCLUSIVE
            for name in each - {sorted(each)[min(chosen, len(each) - 1)]}
        }
        yield overlay, tuple(each for each in COMPONENTS if each not in left_out)


def kustomized(folder: Path) -> str:
    """The manifests of a folder as kubectl renders them; skips the test without kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, of which only `kubectl kustomize` is used")
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def by_kind_and_name(folder: str) -> dict[tuple[str, str], Manifest]:
    """The rendered manifests of a folder of this repository."""
    documents = [each for each in yaml.safe_load_all(kustomized(ROOT / folder)) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def rendered(overlay: str, components: tuple[str, ...] = ()) -> str:
    """The rendered manifests of an overlay with components."""
    return _rendered(overlay, tuple(f"components/{component}" for component in components))


def canary_release() -> str:
    """The rendered manifests of a second release for a share of the requests."""
    return _rendered("cpu", ("canary",))


@functools.cache
def _rendered(overlay: str, components: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory() as name:
        # Kustomize rejects symbolic links and absolute paths.
        folder = Path(name).resolve()
        k8s = os.path.relpath(K8S, folder)
        kustomization = {
            "resources": [f"{k8s}/overlays/{overlay}"],
            "components": [f"{k8s}/{component}" for component in components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return kustomized(folder)


def manifests(overlay: str, components: tuple[str, ...] = ()) -> list[Manifest]:
    """The rendered manifests, parsed."""
    return list(yaml.safe_load_all(rendered(overlay, components)))


def of_kind(documents: list[Manifest], kind: str) -> dict[str, Manifest]:
    """All manifests of a kind by name."""
    return {each["metadata"]["name"]: each for each in documents if each["kind"] == kind}


def pod(documents: list[Manifest], deployment: str) -> Manifest:
    """The template of a deployment's pods: metadata and spec."""
    template: Manifest = of_kind(documents, "Deployment")[deployment]["spec"]["template"]
    return template


def container(documents: list[Manifest], deployment: str) -> Manifest:
    """The container of a deployment."""
    (only,) = pod(documents, deployment)["spec"]["containers"]
    return only  # type: ignore[no-any-return]


def config_map(documents: list[Manifest], prefix: str) -> dict[str, str]:
    """The data of a generated ConfigMap, whose name ends with a hash."""
    found = {
        name: each
        for name, each in of_kind(documents, "ConfigMap").items()
        if name.rpartition("-")[0] == prefix
    }
    (only,) = found.values()
    return only["data"]  # type: ignore[no-any-return]
