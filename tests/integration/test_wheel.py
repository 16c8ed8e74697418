"""The wheel: its packages, also installed beside PyPI's packages of similar names."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from rockstar_serving.gateway.pages import litert_version
from tests.environments import environment, install

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "rockstar_cli",
    "rockstar_client",
    "rockstar_contract",
    "rockstar_serving",
    "rockstar_training",
    "tfs_api",
}
USE_BOTH = """
import clients, rockstar_client
print(clients.Client.__name__, rockstar_client.HttpClient.__name__, rockstar_client.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "uv", "build", "--wheel", "--quiet", f"--out-dir={folder}"]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the wheel cannot be built: {done.stderr.strip().splitlines()[-1]}")
    (found,) = folder.glob("*.whl")
    return found


def test_it_contains_the_typed_packages_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES | {
        "rockstar_notebooks"
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert "rockstar_serving/gateway/pages/templates/index.html" in names
    if litert_version():
        assert "rockstar_serving/gateway/pages/litert/LICENSE.txt" in names


def test_it_works_beside_the_package_clients(wheel, pytestconfig, tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = environment(pytestconfig, "wheel", ["clients", *project["dependencies"]])
    done = install(python, "--no-deps", "--reinstall", str(wheel))
    assert done.returncode == 0, done.stderr
    done = subprocess.run([python, "-c", USE_BOTH], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout == f"Client HttpClient {project['version']}\n"
