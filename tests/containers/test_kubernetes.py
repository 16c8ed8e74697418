"""The rendered embedded overlay under `podman play kube`, called through its services."""

import copy
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from examples.demo import read_held_out
from tests.containers.engine import Engine
from tests.manifests import Manifest, container, manifests, of_kind, pod
from tests.waiting import until

pytestmark = [pytest.mark.images, pytest.mark.slow]

# Sends requests from a container, where services have their names and ports. It retries on request,
# because podman's name server drops queries while another container joins the network.
ASK = """
import sys, time, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], sys.stdin.buffer.read(), {"Content-Type": "image/png"})
for attempts_left in range(59, -1, -1):
    try:
        sys.stdout.write(urllib.request.urlopen(request, timeout=20).read().decode())
        break
    except urllib.error.HTTPError as error:
        if error.code != 503 or not attempts_left:
            raise
        time.sleep(float(error.headers["Retry-After"]))
"""


class Cluster:
    """podman in place of a cluster: a pod for each deployment, with the name of its service."""

    def __init__(self, engine: Engine, documents: list[Manifest], folder: Path) -> None:
        self._engine = engine
        self._documents = documents
        self._folder = folder
        self._files: list[Path] = []

    def apply(self, deployment: str) -> None:
        """Start a deployment, with the ConfigMaps."""
        file = self._folder / f"{deployment}.yaml"
        started = copy.deepcopy(of_kind(self._documents, "Deployment")[deployment])
        started["metadata"]["name"] = self._own(deployment)
        maps = of_kind(self._documents, "ConfigMap")
        text = yaml.safe_dump_all([*maps.values(), started])
        for name in maps:
            text = text.replace(name, self._own(name))
        file.write_text(text)
        self._files.append(file)
        network = f"--network={self._engine.network}:alias={deployment}"
        self._engine.podman("play", "kube", network, str(file))

    def url(self, service: str) -> str:
        """Address of a service: its name and first port."""
        port = of_kind(self._documents, "Service")[service]["spec"]["ports"][0]["port"]
        return f"http://{service}:{port}"

    def probe(self, deployment: str, name: str) -> bool:
        """Result of a probe of a deployment's container."""
        spec = container(self._documents, deployment)
        asked = spec[name]["httpGet"]
        (port,) = [e["containerPort"] for e in spec["ports"] if e["name"] == asked["port"]]
        url = f"http://127.0.0.1:{port}{asked['path']}"
        command = ("exec", self._name(deployment), "python", "-m", "rockstar_serving.probe", url)
        return self._run(*command).returncode == 0

    def ask(self, image: str, url: str, body: bytes) -> dict:
        """The response to a client in another container."""
        network = f"--network={self._engine.network}"
        caller = ("run", "--rm", "--interactive", network, "--entrypoint=python", image)
        done = self._run(*caller, "-c", ASK, url, body=body)
        assert done.returncode == 0, f"{done.stderr.decode()[-2000:]}{self.logs()}"
        answer: dict = json.loads(done.stdout)
        return answer

    def inspect(self, deployment: str) -> dict:
        found: dict = json.loads(self._engine.podman("inspect", self._name(deployment)))[0]
        return found

    def logs(self) -> str:
        """The last log lines of all containers."""
        done = [
            self._run("logs", self._name(name)) for name in of_kind(self._documents, "Deployment")
        ]
        return "".join((each.stdout + each.stderr).decode()[-2000:] for each in done)

    def stop(self, deployment: str) -> int:
        """Stop it as a cluster does; returns the exit status."""
        seconds = pod(self._documents, deployment)["spec"]["terminationGracePeriodSeconds"]
        self._engine.podman("stop", f"--time={seconds}", self._name(deployment))
        return int(self.inspect(deployment)["State"]["ExitCode"])

    def close(self) -> None:
        for file in self._files:
            self._run("play", "kube", "--down", str(file))
        for name in of_kind(self._documents, "ConfigMap"):
            self._run("volume", "rm", "--force", self._own(name))

    def _own(self, name: str) -> str:
        # podman finds pods and volumes by name, like networks.
        return f"{name}-{self._engine.network}"

    def _name(self, deployment: str) -> str:
        return f"{self._own(deployment)}-pod-0-{container(self._documents, deployment)['name']}"

    def _run(self, *arguments: str, body: bytes | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["podman", *arguments],
            env=self._engine.environment,
            input=body,
            capture_output=True,
            timeout=120,
        )


@pytest.fixture
def cluster(engine, gateway_image, model_server_image, tmp_path) -> Iterator[Cluster]:
    documents = copy.deepcopy(manifests("embedded"))
    images = {"gateway": gateway_image, "model-server": model_server_image}
    for deployment, image in images.items():
        spec = container(documents, deployment)
        spec["image"] = image
        # podman publishes ports on this machine, under the same numbers if none are given.
        for port in spec["ports"]:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port["hostPort"] = free.getsockname()[1]
        # podman 4.3 requires Secrets that are optional.
        template = pod(documents, deployment)["spec"]
        optional = [each for each in template["volumes"] if each.get("secret", {}).get("optional")]
        names = {each["name"] for each in optional}
        template["volumes"] = [each for each in template["volumes"] if each not in optional]
        spec["volumeMounts"] = [each for each in spec["volumeMounts"] if each["name"] not in names]
    cluster = Cluster(engine, documents, tmp_path)
    yield cluster
    cluster.close()


def test_answers_through_its_services(cluster, gateway_image, trained_models):
    cluster.apply("model-server")
    until(lambda: cluster.probe("model-server", "readinessProbe"), 60, "a ready model server")
    cluster.apply("gateway")
    until(lambda: cluster.probe("gateway", "readinessProbe"), 60, "a ready gateway")
    for deployment in ("gateway", "model-server"):
        assert cluster.probe(deployment, "livenessProbe")
        container = cluster.inspect(deployment)
        assert container["Config"]["User"] == "10001:10001"
        assert container["HostConfig"]["ReadonlyRootfs"] is True
        assert container["EffectiveCaps"] in (None, [])
        assert container["HostConfig"]["Memory"] > 0

    held_out = read_held_out(trained_models.workdir / "runs" / "cnn-1")
    url = f"{cluster.url('gateway')}/predict/cnn"
    answer = cluster.ask(gateway_image, url, held_out.images[0])
    assert answer["predictions"][0]["label"] == held_out.predicted[0]
    assert cluster.stop("model-server") == 0
