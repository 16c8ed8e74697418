"""Clusters in Docker, created by kind or k3d for one test and removed after it."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAME = "rockstartf-test"
_ASK_TIMEOUT_S = 30.0


class ClusterTestError(Exception):
    """The test cannot run, or it failed; the message says which and why."""


@dataclass(frozen=True)
class Tool:
    """Commands of kind or k3d; {config} is a kubeconfig file, {image} an image."""

    program: str
    create: str
    config: str
    load: str
    delete: str


KIND = Tool(
    "kind",
    create=f"kind create cluster --name {NAME} --wait 180s --kubeconfig {{config}}",
    config="",
    load=f"kind load docker-image {{image}} --name {NAME}",
    delete=f"kind delete cluster --name {NAME} --kubeconfig {{config}}",
)
K3D = Tool(
    "k3d",
    create=f"k3d cluster create {NAME} --wait --timeout 180s --kubeconfig-update-default=false",
    config=f"k3d kubeconfig write {NAME} --output {{config}}",
    load=f"k3d image import {{image}} --cluster {NAME}",
    delete=f"k3d cluster delete {NAME}",
)


def find_tool() -> Tool:
    """The installed one of kind and k3d.

    Raises:
        ClusterTestError: something is missing; the message lists all of it.
    """
    missing = []
    if shutil.which("docker") is None:
        missing.append("docker: https://docs.docker.com/engine/install")
    elif why := _docker_refuses():
        missing.append(f"a Docker engine that answers: {why}")
    if shutil.which("kubectl") is None:
        missing.append("kubectl: https://kubernetes.io/docs/tasks/tools")
    tools = [tool for tool in (KIND, K3D) if shutil.which(tool.program)]
    if not tools:
        missing.append("kind (https://kind.sigs.k8s.io) or k3d (https://k3d.io)")
    if missing:
        raise ClusterTestError("the cluster test needs\n  - " + "\n  - ".join(missing))
    return tools[0]


def run(command: str | Sequence[str], *, check: bool = True) -> None:
    """Run a program and show its output.

    Raises:
        ClusterTestError: it fails, and `check` is set.
    """
    words = command.split() if isinstance(command, str) else list(command)
    print("+", *words, flush=True)
    code = subprocess.run(words).returncode
    if check and code:
        raise ClusterTestError(f"{' '.join(words)}: exit code {code}")


@contextmanager
def cluster(tool: Tool, images: Sequence[str], config: Path) -> Iterator[None]:
    """Create a cluster with some of this machine's images; it is always removed at the end.

    Args:
        tool: kind or k3d.
        images: names of Docker images.
        config: the kubeconfig file to write; the user's own is not changed.

    Raises:
        ClusterTestError: the cluster could not be created.
    """
    try:
        run(tool.create.format(config=config))
        if tool.config:
            run(tool.config.format(config=config))
        for image in images:
            run(tool.load.format(image=image))
        yield
    finally:
        run(tool.delete.format(config=config), check=False)


def _docker_refuses() -> str:
    """Reason why Docker does not work; empty if it does."""
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {_ASK_TIMEOUT_S:g} s"
    return (done.stderr.strip() or "docker version failed") if done.returncode else ""
