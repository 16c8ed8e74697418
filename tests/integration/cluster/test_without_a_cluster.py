"""The cluster test without a cluster: its errors, that its cluster is always removed, and its files."""

import json
import os
import signal
import stat
import subprocess
import sys

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.charts import CHART, documents, helm
from tests.cluster.__main__ import TAG, write_files
from tests.cluster.clusters import NAME, REGISTRY, ClusterTestError, cluster
from tests.manifests import ROOT, of_kind
from tests.waiting import until

DOCKER = "case $1 in port) echo 127.0.0.1:5001;; version) echo 28.2;; esac"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A PATH with only the test's programs; each records its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    class Programs:
        calls = tmp_path / "calls"

        def add(self, name: str, script: str = "") -> None:
            file = folder / name
            file.write_text(f'#!/bin/sh\necho {name} "$@" >> {self.calls}\n{script}\n')
            file.chmod(file.stat().st_mode | stat.S_IXUSR)

        def said(self) -> list[str]:
            return self.calls.read_text().splitlines() if self.calls.exists() else []

    return Programs()


def test_the_command_fails_before_anything_is_trained(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster"],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the cluster test needs\n  - docker: ")


def test_a_cluster_gets_images_and_a_registry_and_is_removed_in_the_end(programs, tmp_path):
    programs.add("docker", DOCKER)
    programs.add("kind", 'case "$2" in nodes) echo node-1;; esac')
    with cluster(["a:1", "b:2"], tmp_path / "config") as registry:
        assert registry == "localhost:5001"
        before = programs.said()
    assert f"kind load docker-image a:1 b:2 --name {NAME}" in before
    (mirror,) = [call for call in before if call.startswith("docker exec node-1")]
    assert "/etc/containerd/certs.d/localhost:5001" in mirror
    assert f'host."http://{REGISTRY}:5000"' in mirror
    kind, docker = programs.said()[len(before) :]
    assert kind.startswith(f"kind delete cluster --name {NAME}")
    assert docker == f"docker rm --force --volumes {REGISTRY}"


@pytest.mark.parametrize("failing", ["create", "load"])
def test_a_cluster_that_could_not_be_made_is_removed_too(programs, failing, tmp_path):
    programs.add("docker", DOCKER)
    programs.add("kind", f'case "$*" in *{failing}*) exit 1; esac')
    with (
        pytest.raises(ClusterTestError, match=rf"^kind {failing}.*: exit code 1$"),
        cluster(["a:1"], tmp_path / "config"),
    ):
        raise AssertionError("not reached")
    assert programs.said()[-2].startswith(f"kind delete cluster --name {NAME}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_cluster(programs, number, tmp_path):
    programs.add("docker", DOCKER)
    programs.add("kind")
    code = (
        "import signal, time; from pathlib import Path\n"
        "from tests.cluster.__main__ import _interrupt\n"
        "from tests.cluster.clusters import cluster\n"
        "signal.signal(signal.SIGTERM, _interrupt)\n"
        f"with cluster(['a:1'], Path({str(tmp_path / 'config')!r})): time.sleep(120)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        until(lambda: any("docker-image" in call for call in programs.said()), 60)
        process.send_signal(number)
        assert process.wait(60) != 0
    finally:
        process.kill()
    assert programs.said()[-1].startswith("docker rm --force")


def test_its_files_are_valid(tmp_path, pytestconfig):
    write_files(tmp_path, "localhost:5001")
    schema = ROOT / "tests" / "testdata" / "kubernetes" / "gateway" / "Gateway.json"
    proxy, _, gateway = yaml.safe_load_all((tmp_path / "gateway.yaml").read_text())
    Draft202012Validator(json.loads(schema.read_text())).validate(gateway)
    parameters = gateway["spec"]["infrastructure"]["parametersRef"]
    assert (parameters["kind"], parameters["name"]) == (proxy["kind"], proxy["metadata"]["name"])
    assert proxy["metadata"]["namespace"] == gateway["metadata"]["namespace"]
    values = yaml.safe_load((tmp_path / "values.yaml").read_text())
    (files,) = helm(pytestconfig)({"render": str(CHART), "values": values})
    pod = of_kind(documents(files), "Deployment")["rockstartf-model-server"]["spec"]["template"]
    assert pod["spec"]["containers"][0]["image"] == f"ghcr.io/rockstartf/model-server:{TAG}"
    (volume,) = [each for each in pod["spec"]["volumes"] if "image" in each]
    assert volume["image"]["reference"] == "localhost:5001/models/cnn:1"
