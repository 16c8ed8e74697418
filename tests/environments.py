"""Virtual environments for packages that conflict with ours, and our pinned versions."""

import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Its HTTP and gRPC clients.
TRITONCLIENT = ["tritonclient[grpc,http]==2.56.0"]
_NODE = Path(__file__).with_name("node")
_CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def pinned(package: str) -> str:
    """The version of a package that `make` installs."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", _CONSTRAINTS.read_text(), re.MULTILINE)
    assert found, f"{package} is not in constraints.txt: make lock"
    return found[1]


def environment(config: pytest.Config, name: str, requirements: list[str]) -> Path:
    """The interpreter of an environment with these packages; kept between test runs.

    Skips the test if they cannot be installed, for example without a network.
    """
    folder = config.cache.mkdir(f"{name}-{sys.version_info[1]}")
    interpreter = folder / "bin" / "python"
    installed = folder / "installed"
    # Another process may need it too.
    with FileLock(folder.with_suffix(".lock")):
        if not installed.exists() or installed.read_text() != " ".join(requirements):
            venv.create(folder, clear=True)
            done = install(interpreter, *requirements)
            if done.returncode:
                pytest.skip(f"{name} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
            installed.write_text(" ".join(requirements))
    return interpreter


def answers_of(program: list[Any], request: Any, folder: Path | None = None) -> Any:
    """The JSON output of a program for a request as JSON."""
    done = subprocess.run(
        program,
        input=json.dumps(request),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def install(interpreter: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Install packages for an interpreter; uv stores shared packages once."""
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", f"--python={interpreter}"]
    return subprocess.run([*uv, *arguments], capture_output=True, text=True)


def node_packages(config: pytest.Config) -> Path:
    """The node_modules folder with the packages of tests/node/package.json, in their locked versions.

    Skips the test without Node, or if they cannot be installed, for example without a network.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("there is no node with npm: apt-get install npm")
    lock = (_NODE / "package-lock.json").read_text()
    folder = config.cache.mkdir("node")
    installed = folder / "installed"
    with FileLock(folder.with_suffix(".lock")):
        if not installed.exists() or installed.read_text() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(_NODE / name, folder)
            npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(npm, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"npm ci: {done.stderr.strip().splitlines()[-1]}")
            installed.write_text(lock)
    return folder / "node_modules"
