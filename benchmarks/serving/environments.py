"""A separate environment for each system and engine, created once from pinned requirements."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.serving.results import Installed
from benchmarks.serving.systems import HERE, ROOT, Engine, System

_STAMP = "requirements.sha256"
_CONSTRAINTS = ROOT / "constraints.txt"
_TENSORFLOW = HERE / "peers" / "tensorflow.txt"
_TIMEOUT_S = 1800
# Versions are of packages with these names, or those of the peers.
_PACKAGES = {None: "rockstartf", "triton": "nvidia-pytriton"}


class EnvironmentFailed(Exception):  # noqa: N818
    """An environment could not be created; the message is pip's."""


def environment_name(system: System, engine: Engine) -> str:
    """Name of an environment; all systems of this project share one per engine."""
    name = system.peer or "rockstar"
    return name if engine == "litert" else f"{name}-{engine}"


def prepare(folder: Path, system: System, engine: Engine, say: Callable[[str], None]) -> Path:
    """Create an environment, unless it exists and is up to date.

    Args:
        folder: folder of environments.
        system: system to install.
        engine: engine to install.
        say: function that prints progress.

    Returns:
        Path of its Python.

    Raises:
        EnvironmentFailed: it cannot be created.
    """
    name = environment_name(system, engine)
    environment = folder.resolve() / name
    python, stamp = environment / "bin" / "python", environment / _STAMP
    digest = hashlib.sha256(_pinned(system, engine)).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        say(f"installing {name} into {environment}")
        if not python.exists():
            _run([_base(system), "-m", "venv", "--without-pip", str(environment)], name)
        for step in _steps(system, engine):
            _pip(python, step, name)
        stamp.write_text(digest)
    if system.peer is None:
        # Always install the current code; its dependencies are already installed.
        _pip(python, ["--no-deps", "--force-reinstall", str(ROOT)], name)
    return python


def installed(python: Path, system: System) -> Installed:
    """Size of the installed packages, and version of the system."""
    packages = next(python.parents[1].glob("lib/python*/site-packages"))
    size = sum(
        path.stat().st_size
        for path in packages.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    what = _PACKAGES.get(system.peer, system.peer)
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    version = subprocess.run(
        [str(python), "-c", code, str(what)], capture_output=True, text=True, check=False
    )
    return Installed(megabytes=size / 1e6, version=version.stdout.strip())


def _requirements(system: System) -> Path:
    return HERE / "peers" / str(system.peer) / "requirements.txt"


def _steps(system: System, engine: Engine) -> list[list[str]]:
    """Arguments for each call of pip install."""
    if system.peer is None:
        steps = [[f"--constraint={_CONSTRAINTS}", f"{ROOT}[serve]"]]
    else:
        steps = [[f"--requirement={_requirements(system)}"]]
    if engine == "tensorflow":
        # Separately, because TensorFlow may need other versions than the pinned ones.
        steps.append([f"--requirement={_TENSORFLOW}"])
    return steps


def _pinned(system: System, engine: Engine) -> bytes:
    """Contents of the files that define an environment."""
    files = [_requirements(system)] if system.peer else [_CONSTRAINTS, ROOT / "pyproject.toml"]
    more = [_TENSORFLOW] if engine == "tensorflow" else []
    return b"".join(path.read_bytes() for path in files + more)


def _pip(python: Path, arguments: list[str], name: str) -> None:
    pip = [sys.executable, "-m", "pip", f"--python={python}", "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", *arguments], name)


def _base(system: System) -> str:
    """The Python from which to create an environment.

    Triton's stub loads the system's libpython, whose standard library must be of the same version.
    """
    found = shutil.which("python3", path="/usr/bin") if system.peer == "triton" else None
    return found or sys.executable


def _run(command: list[str], name: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFailed(f"{name}: {error}") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "ERROR" in line]
        reason = lines[-1] if lines else error.stderr.strip()[-300:]
        raise EnvironmentFailed(f"{name} cannot be installed: {reason}") from error
