"""What the manifests start, as processes of this machine: commands, settings, files and probes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.end_to_end.heldout import held_out
from tests.manifests import ROOT, Manifest, config_map, container, manifests, of_kind, pod
from tests.name_server import NameServer
from tests.waiting import until

EMBEDDED = ("embedded", ())


def entrypoint(image: str, dockerfile: str = "Dockerfile.cpu") -> list[str]:
    """What an image starts, by its Dockerfile."""
    text = (ROOT / dockerfile).read_text().replace("\\\n", "")
    stage = re.search(rf"^FROM \S+ AS {image}$(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL)
    assert stage
    return json.loads(re.findall(r"^ENTRYPOINT (.*)$", stage[1], re.MULTILINE)[-1])


@dataclass
class Pod:
    """A process in place of a pod."""

    spec: Manifest
    process: subprocess.Popen
    log: Path
    addresses: dict[str, str]

    def probe(self, name: str) -> int:
        """The status that a probe gets."""
        asked = self.spec[name]["httpGet"]
        return self.get(asked["port"], asked["path"]).status_code

    def get(self, port: str, path: str) -> requests.Response:
        return requests.get(f"http://{self.addresses[port]}{path}", timeout=20)

    def passes(self, name: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.probe(name) == 200
        except (requests.RequestException, KeyError):
            return False


class Pods:
    """Starts the containers of rendered manifests, with their ConfigMaps as files below a folder."""

    def __init__(self, documents: list[Manifest], models: Path, folder: Path) -> None:
        self.documents = documents
        self._models = models
        self._folder = folder
        self._started: list[Pod] = []

    def model_server(self, *flags: str) -> Pod:
        image = container(self.documents, "model-server")["image"].split("/")[1].split(":")[0]
        address = self._folder / f"address-{len(self._started)}.json"
        own = ["--port=auto", "--rest_api_port=auto", f"--address_file={address}", *flags]
        # There is no TensorFlow in the image.
        own.append("--prefer_tflite_model")
        started = self._start("model-server", entrypoint(image), own, {})
        until(lambda: address.exists() or started.process.poll() is not None, 60, "a model server")
        assert started.process.poll() is None, started.log.read_text()
        started.addresses = json.loads(address.read_text())
        until(lambda: started.passes("startupProbe") or flags, 60)
        return started

    def gateway(self, upstream: str) -> Pod:
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            bound = {"ROCKSTAR_BIND": f"fd://{listener.fileno()}", "ROCKSTAR_UPSTREAM": upstream}
            started = self._start("gateway", entrypoint("gateway"), [], bound, listener.fileno())
            started.addresses = {"http": f"127.0.0.1:{listener.getsockname()[1]}"}
        until(lambda: started.passes("startupProbe"), 60)
        return started

    def environment(self, deployment: str, own: dict[str, str]) -> dict[str, str]:
        """Of a container; secrets are not there."""
        variables: dict[str, str] = {}
        maps = of_kind(self.documents, "ConfigMap")
        for source in container(self.documents, deployment).get("envFrom", []):
            if "configMapRef" in source:
                variables |= maps[source["configMapRef"]["name"]]["data"]
        return {name: self._here(value, deployment) for name, value in variables.items()} | own

    def _start(self, deployment, command, own, variables, *passed) -> Pod:
        spec = container(self.documents, deployment)
        program = [sys.executable if each == "python" else each for each in command]
        arguments = [self._here(each, deployment) for each in [*program, *spec.get("args", [])]]
        log = self._folder / f"{deployment}-{len(self._started)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*arguments, *own],
                cwd=ROOT,
                env=os.environ | self.environment(deployment, variables),
                pass_fds=passed,
                stdout=file,
                stderr=file,
            )
        self._started.append(Pod(spec, process, log, {}))
        return self._started[-1]

    def _here(self, text: str, deployment: str) -> str:
        """A text in which the files of mounted ConfigMaps are on this machine."""
        spec = pod(self.documents, deployment)["spec"]
        maps = of_kind(self.documents, "ConfigMap")
        names = {each["name"]: each.get("configMap", {}).get("name") for each in spec["volumes"]}
        for mount in spec["containers"][0]["volumeMounts"]:
            name = names[mount["name"]]
            if name is None or mount["mountPath"] not in text:
                continue
            folder = self._folder / name
            folder.mkdir(exist_ok=True)
            for file, content in maps[name]["data"].items():
                (folder / file).write_text(content.replace('"/models/', f'"{self._models}/'))
            text = text.replace(mount["mountPath"], str(folder))
        return text

    def close(self) -> None:
        for each in self._started:
            # At once: SIGTERM would begin to drain.
            each.process.kill()
            each.process.wait()


@pytest.fixture
def start(trained_models, tmp_path) -> Iterator:
    """Makes pods of an overlay and components, with the trained models unless others are given."""
    made: list[Pods] = []

    def start(overlay: str, components: tuple[str, ...] = (), models: Path | None = None) -> Pods:
        documents = manifests(overlay, components)
        made.append(Pods(documents, models or trained_models.workdir / "models", tmp_path))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def digit(trained_models) -> tuple[bytes, str]:
    """A PNG, and the label that training predicted for it."""
    files, labels, _ = held_out(trained_models.workdir / "runs" / "cnn-1")
    return files[0], labels[0]


def ask(gateway: Pod, png: bytes, **headers: str) -> requests.Response:
    headers = {"Content-Type": "image/png", **headers}
    url = f"http://{gateway.addresses['http']}/predict/cnn"
    return requests.post(url, data=png, headers=headers, timeout=30)


def test_settings_probes_and_metrics(start, digit):
    pods = start("embedded", ("autoscale-inflight", "monitoring"))
    server = pods.model_server()
    gateway = pods.gateway(server.addresses["grpc"])
    for each in (server, gateway):
        until(lambda each=each: each.passes("readinessProbe"))
        assert each.probe("livenessProbe") == 200
    answer = ask(gateway, digit[0])
    assert answer.json()["predictions"][0]["label"] == digit[1]

    of = {"gateway": gateway, "model-server": server}
    metrics = {}
    for name, monitor in of_kind(pods.documents, "ServiceMonitor").items():
        (endpoint,) = monitor["spec"]["endpoints"]
        metrics[name] = of[name].get(endpoint["port"], endpoint["path"]).text
    scaled = of_kind(pods.documents, "HorizontalPodAutoscaler")["gateway"]["spec"]["metrics"]
    (metric,) = [each["pods"]["metric"]["name"] for each in scaled if each["type"] == "Pods"]
    assert f"\n{metric} " in metrics["gateway"]
    assert ":tensorflow:serving:request_count{" in metrics["model-server"]

    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert gateway.probe("livenessProbe") == 200
    until(lambda: not gateway.passes("readinessProbe"))


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "embedded"])
def test_every_setting_is_one_and_has_effect(start, overlay):
    pods = start(overlay, ("canary",))
    variables = pods.environment("gateway", {})
    command = [sys.executable, "-m", "serving.gateway", "--print-config"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    from_environment = re.findall(r"^(\w+)=.*# ROCKSTAR_\w+$", done.stdout, re.MULTILINE)
    assert set(from_environment) == variables.keys()


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_flags_are_those_of_tensorflow_serving(overlay):
    spec = container(manifests(overlay), "model-server")
    dockerfile = "Dockerfile.gpu" if spec["image"].endswith("-gpu") else "Dockerfile.cpu"
    (program, *flags) = [*entrypoint("tfserving", dockerfile), *spec["args"]]
    assert Path(program).name == "tensorflow_model_server"
    # The embedded server refuses what neither knows, and says which flags are its own.
    help_text = subprocess.run(
        [sys.executable, "-m", "serving.model_server", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    known, _, last = help_text.partition("Flags are those of tensorflow_model_server, except")
    own = set(re.findall(r"--\w+", last))
    assert len(own) == 6
    names = {flag.partition("=")[0] for flag in flags}
    assert names <= set(re.findall(r"--\w+", known)) - own


def test_a_model_that_does_not_load_is_alive_and_not_ready(start, trained_models, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(trained_models.workdir / "models", models)
    (models / "cnn" / "1" / "model.tflite").write_bytes(b"no model")
    server = start(*EMBEDDED, models).model_server("--require_all_models=false")
    assert server.probe("livenessProbe") == 200
    assert server.probe("readinessProbe") >= 400
    assert server.probe("startupProbe") >= 400


def test_a_canary_answers_a_share(start, trained_models, tmp_path, digit):
    models = tmp_path / "models"
    shutil.copytree(trained_models.workdir / "models", models)
    shutil.copytree(models / "cnn" / "1", models / "cnn" / "2")
    pods = start("embedded", ("canary",), models)
    gateway = pods.gateway(pods.model_server().addresses["grpc"])
    until(lambda: gateway.passes("readinessProbe"))
    versions = [
        ask(gateway, digit[0], **{"X-User-ID": f"user-{n}"}).json()["version"] for n in range(100)
    ]
    # One in ten on average; of users, each with a version that stays.
    assert 1 <= versions.count(2) <= 30
    assert set(versions) == {1, 2}


class Callers:
    """Threads that ask a gateway without a pause, and note what fails."""

    def __init__(self, gateway: Pod, png: bytes, threads: int = 4) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._ask = lambda: ask(gateway, png)
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._done.is_set():
            answer = self._ask()
            if answer.status_code == 200:
                self.answers += 1
            else:
                self.failures.append(answer.text)

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="needs more than one address of this machine")
def test_a_rollout_of_the_model_server_loses_no_request(start, digit):
    """The headless service names the new pod, then not the old one, which ends when it is unused."""
    pods = start(*EMBEDDED)
    with socket.create_server(("127.0.0.2", 0)) as free:
        port = free.getsockname()[1]
    # As in the manifests, with seconds for minutes.
    (age,) = [
        each for each in container(pods.documents, "model-server")["args"] if "max_connection" in each
    ]
    flags = (f"--port={port}", re.sub(r"\d+$", "500", age))

    def server(host: str) -> Pod:
        return pods.model_server(f"--host={host}", *flags)

    def calls(server: Pod) -> float:
        text = server.get("rest", "/monitoring/prometheus/metrics").text
        found = re.findall(r"^:tensorflow:serving:request_count\{.*\} (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    old = server("127.0.0.2")
    with NameServer("127.0.0.2") as names:
        gateway = pods.gateway(names.target(port))
        until(lambda: gateway.passes("readinessProbe"))
        with Callers(gateway, digit[0]) as callers:
            for host in ("127.0.0.3", "127.0.0.4"):
                new = server(host)
                until(lambda new=new: new.passes("readinessProbe"))
                names.addresses.append(host)
                until(lambda new=new: calls(new) > 10 or callers.failures)
                names.addresses.pop(0)
                # preStop waits for a time that is enough for this.
                until(lambda old=old: unused(old, calls) or callers.failures)
                old.process.send_signal(signal.SIGTERM)
                assert old.process.wait(30) == 0
                old = new
            seen = callers.answers
            until(lambda: callers.answers > seen + 20 or callers.failures)
    assert callers.failures == []


def unused(server: Pod, calls) -> bool:
    """Whether no call has come for a second."""
    before = calls(server)
    threading.Event().wait(1)
    return calls(server) == before
