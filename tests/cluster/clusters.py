"""Clusters in Docker, created by kind for one test and removed after it, with a registry."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NAME = "rockstartf-test"
REGISTRY = f"{NAME}-registry"
_ASK_TIMEOUT_S = 30.0
_PROGRAMS = {
    "docker": "https://docs.docker.com/engine/install",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
    "helm": "https://helm.sh/docs/intro/install",
    "kind": "https://kind.sigs.k8s.io",
    "curl": "https://curl.se",
}


class ClusterTestError(Exception):
    """The test cannot run, or it failed; the message says which and why."""


def require_programs() -> None:
    """Raises ClusterTestError if something is missing; the message lists all of it."""
    missing = [f"{name}: {url}" for name, url in _PROGRAMS.items() if shutil.which(name) is None]
    if shutil.which("docker") and (why := _docker_refuses()):
        missing.insert(0, f"a Docker engine that answers: {why}")
    if missing:
        raise ClusterTestError("the cluster test needs\n  - " + "\n  - ".join(missing))


def run(*command: str, check: bool = True, output: bool = False) -> str:
    """Run a program and show its output; with `output`, return it instead.

    Raises:
        ClusterTestError: it fails, and `check` is set.
    """
    print("+", *command, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE if output else None, text=True)
    if check and done.returncode:
        raise ClusterTestError(f"{' '.join(command)}: exit code {done.returncode}")
    return done.stdout or ""


@contextmanager
def cluster(images: Sequence[str], config: Path) -> Iterator[str]:
    """Create a cluster with some of this machine's images, and a registry from which it pulls.

    Both are always removed at the end. This machine and the nodes know the registry by the same
    address, as https://kind.sigs.k8s.io/docs/user/local-registry describes.

    Args:
        images: names of Docker images.
        config: the kubeconfig file to write; the user's own is not changed.

    Yields:
        The address of the registry.

    Raises:
        ClusterTestError: the cluster could not be created.
    """
    try:
        run(
            "docker",
            "run",
            "--detach",
            "--name",
            REGISTRY,
            "--publish=127.0.0.1::5000",
            "registry:3",
        )
        address = run("docker", "port", REGISTRY, "5000/tcp", output=True).split()[0]
        address = f"localhost:{address.rpartition(':')[2]}"
        create = ("kind", "create", "cluster", "--name", NAME, "--wait", "180s")
        run(*create, "--kubeconfig", str(config))
        run("docker", "network", "connect", "kind", REGISTRY)
        hosts = f'[host."http://{REGISTRY}:5000"]'
        folder = f"/etc/containerd/certs.d/{address}"
        for node in run("kind", "get", "nodes", "--name", NAME, output=True).split():
            write = f"mkdir -p {folder} && echo '{hosts}' > {folder}/hosts.toml"
            run("docker", "exec", node, "sh", "-c", write)
        run("kind", "load", "docker-image", *images, "--name", NAME)
        yield address
    finally:
        run("kind", "delete", "cluster", "--name", NAME, "--kubeconfig", str(config), check=False)
        run("docker", "rm", "--force", "--volumes", REGISTRY, check=False)


def _docker_refuses() -> str:
    """Reason why Docker does not work; empty if it does."""
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {_ASK_TIMEOUT_S:g} s"
    return (done.stderr.strip() or "docker version failed") if done.returncode else ""
