"""Folders of models, a bucket, and a registry of images."""

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.environments import environment
from tests.object_store import KEYS, REQUIREMENTS, object_store
from tests.oci_registry import oci_registry
from tests.registries import add_version


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with versions 1 and 2 of a model `cnn`, with invalid LiteRT files."""
    for version in (1, 2):
        add_version(tmp_path / "models", "cnn", version)
    return tmp_path / "models"


@pytest.fixture(scope="session")
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    pytest.importorskip("obstore")
    with object_store(environment(request.config, "object-storage", REQUIREMENTS)) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of a folder of models in an empty bucket."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{abs(hash(request.node.nodeid))}"
    call = urllib.request.Request(f"{endpoint}/{name}", method="PUT")
    with urllib.request.urlopen(call, timeout=30):
        pass
    return f"s3://{name}/models"


@pytest.fixture(scope="session")
def registry_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with oci_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def image(registry_address: str, request: pytest.FixtureRequest) -> str:
    """The name of an image of `cnn` that does not exist yet."""
    return f"oci://{registry_address}/test-{abs(hash(request.node.nodeid))}/cnn"


@pytest.fixture(params=["folder", "bucket", "image"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty destination of each kind."""
    if request.param == "folder":
        return str(tmp_path / "there")
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def source_of(destination: str) -> Callable[[object], str]:
    """The source for a version or label that was pushed to the destination."""

    def source_of(version: object) -> str:
        kind = destination.partition("://")[0]
        return f"{destination}:{version}" if kind == "oci" else f"{destination}/cnn/{version}"

    return source_of
