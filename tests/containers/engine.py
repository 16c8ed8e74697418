"""podman and buildah with a separate network and this machine's pip settings."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.containers.stand_in import pip_settings

# .ci/run installs the same packages.
_PACKAGES = "buildah podman runc netavark aardvark-dns catatonit iptables mmdebstrap"
_PROGRAMS = ("buildah", "podman", "runc", "mmdebstrap")
# crun needs one kind of cgroups, and runc needs permission to set limits.
_SETTINGS = """\
[containers]
default_ulimits=["nofile=4096:4096","nproc=4096:4096"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""


def missing() -> str:
    """Reason why images cannot be built here, and how to fix it; empty if they can."""
    if not sys.platform.startswith("linux"):
        return "images are built on Linux"
    absent = [program for program in _PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"no {', '.join(absent)}: apt-get install --no-install-recommends {_PACKAGES}"
    return "" if os.geteuid() == 0 else "images are built as root"


@dataclass
class Container:
    """A started container."""

    engine: "Engine"
    id: str

    @property
    def address(self) -> str:
        """Address on the tests' network."""
        networks = self.inspect()["NetworkSettings"]["Networks"]
        return str(networks[self.engine.network]["IPAddress"])

    def inspect(self) -> dict[str, Any]:
        """The engine's description of the container."""
        found: dict[str, Any] = json.loads(self.engine.podman("inspect", self.id))[0]
        return found

    def logs(self) -> str:
        done = subprocess.run(
            ["podman", "logs", self.id], env=self.engine.environment, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """Run a command in the container."""
        return subprocess.run(
            ["podman", "exec", self.id, *command],
            env=self.engine.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def healthy(self) -> bool:
        """Current status of its HEALTHCHECK."""
        command = ["podman", "healthcheck", "run", self.id]
        done = subprocess.run(command, env=self.engine.environment, capture_output=True, timeout=60)
        return done.returncode == 0

    def wait(self, seconds: float = 60) -> int:
        """Exit status, once it has exited by itself."""
        command = ["podman", "wait", self.id]
        done = subprocess.run(
            command, env=self.engine.environment, capture_output=True, text=True, timeout=seconds
        )
        return int(done.stdout)

    def stop(self, grace: int = 10) -> int:
        """Stop it like `docker stop`: its signal, then SIGKILL after the grace. Returns the exit status."""
        self.engine.podman("stop", "--time", str(grace), self.id)
        return int(self.inspect()["State"]["ExitCode"])


@dataclass
class Engine:
    """Builds images and runs containers; `close` removes the containers and the network."""

    folder: Path
    environment: dict[str, str]
    # Unique, because other tests may run at the same time, and killed runs leave networks.
    network: str = field(default_factory=lambda: f"rockstartf-test-{secrets.token_hex(4)}")
    base: str = ""
    _started: list[str] = field(default_factory=list)
    _base: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        settings = self.folder / "containers.conf"
        settings.write_text(_SETTINGS)
        self.environment = {**self.environment, "CONTAINERS_CONF": str(settings)}
        self.podman("network", "create", self.network)

    def use_base(self, image: str, *, pull: bool) -> None:
        """Build on this Python image; `pull`: pull missing images."""
        self.base = image
        self._base = (f"--build-arg=PYTHON_IMAGE={image}", *([] if pull else ["--pull-never"]))

    def podman(self, *arguments: str) -> str:
        """The output of a command.

        Raises:
            AssertionError: it failed.
        """
        return self._output("podman", *arguments)

    def build(self, dockerfile: Path, target: str, *options: str) -> str:
        """Build a target; returns the name of the image."""
        name = f"localhost/rockstartf/{target}:test"
        pip, mounts = pip_settings()
        secret = self.folder / "pip.conf"
        secret.write_text(f"{pip}# a secret of the build: {self.folder.name} {os.getpid()}\n")
        volumes = [f"--volume={path}:{path}:ro" for path in mounts]
        self._output(
            *("buildah", "bud", "--format=docker", "--layers", "--network=host"),
            *(*volumes, f"--secret=id=pip,src={secret}", *self._base),
            *(f"--file={dockerfile}", f"--target={target}", f"--tag={name}", *options),
            str(dockerfile.parent),
        )
        return name

    def start(self, image: str, *arguments: str, options: tuple[str, ...] = ()) -> Container:
        """Run an image as compose.yaml does: only /tmp is writable, no capabilities."""
        locked = ["--read-only", "--tmpfs=/tmp", "--cap-drop=all"]
        locked += ["--security-opt=no-new-privileges", f"--network={self.network}"]
        started = self.podman("run", "--detach", *locked, *options, image, *arguments)
        self._started.append(started.split()[-1])
        return Container(self, self._started[-1])

    def image(self, name: str) -> dict[str, Any]:
        """Configuration of an image."""
        found: dict[str, Any] = json.loads(self.podman("image", "inspect", name))[0]
        return found

    def close(self) -> None:
        if self._started:
            self.podman("rm", "--force", "--time=0", *self._started)
        self.podman("network", "rm", "--force", self.network)

    def _output(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, (
            f"{' '.join(command)}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )
        return done.stdout
