"""Containers of rendered manifests as processes of this machine."""

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.manifests import ROOT, Manifest, container, of_kind, pod
from tests.waiting import until


def entrypoint(image: str, dockerfile: str = "Dockerfile.cpu") -> list[str]:
    """Command of an image according to its Dockerfile."""
    text = (ROOT / dockerfile).read_text().replace("\\\n", "")
    stage = re.search(rf"^FROM \S+ AS {image}$(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL)
    assert stage
    command: list[str] = json.loads(re.findall(r"^ENTRYPOINT (.*)$", stage[1], re.MULTILINE)[-1])
    return command


@dataclass
class Pod:
    """A process in place of a pod."""

    spec: Manifest
    process: subprocess.Popen
    log: Path
    addresses: dict[str, str]

    def probe(self, name: str) -> int:
        """The status that a probe returns."""
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
        spec = container(self.documents, "model-server")
        image = spec["image"].rpartition("/")[2].partition(":")[0]
        address = self._folder / f"address-{len(self._started)}.json"
        own = ["--port=auto", "--rest_api_port=auto", f"--address_file={address}", *flags]
        # The image has no TensorFlow.
        own.append("--prefer_tflite_model")
        started = self._start("model-server", spec.get("command") or entrypoint(image), own, {})
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
        """Environment of a container, without secrets."""
        variables: dict[str, str] = {}
        maps = of_kind(self.documents, "ConfigMap")
        for source in container(self.documents, deployment).get("envFrom", []):
            if "configMapRef" in source:
                variables |= maps[source["configMapRef"]["name"]]["data"]
        variables |= {
            each["name"]: each["value"]
            for each in container(self.documents, deployment).get("env", [])
        }
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
        """Replace paths of mounted ConfigMaps with files on this machine."""
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
            # Immediately; SIGTERM would start draining.
            each.process.kill()
            each.process.wait()
