"""Errors of the cluster test, and that its cluster is always removed."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.clusters import K3D, KIND, ClusterTestError, cluster, find_tool
from tests.cluster.kubectl import Kubectl
from tests.waiting import until

ROOT = Path(__file__).parents[3]
WORKS = "echo 28.2"


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


def test_all_missing_programs_are_listed(programs):
    with pytest.raises(ClusterTestError) as raised:
        find_tool()
    for name in ("docker: https://", "kubectl: https://", "kind (https://kind.sigs.k8s.io) or k3d"):
        assert name in str(raised.value)


def test_the_error_of_docker_is_shown(programs):
    programs.add("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    programs.add("kubectl")
    programs.add("kind")
    with pytest.raises(ClusterTestError, match=r"answers: Cannot connect to the Docker daemon$"):
        find_tool()


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


@pytest.mark.parametrize("tool", [KIND, K3D])
def test_uses_the_installed_one_of_kind_and_k3d(programs, tool):
    programs.add("docker", WORKS)
    programs.add("kubectl")
    programs.add(tool.program)
    assert find_tool() == tool


@pytest.mark.parametrize("tool", [KIND, K3D])
def test_a_cluster_gets_the_images_and_is_removed_in_the_end(programs, tool, tmp_path):
    programs.add(tool.program)
    with cluster(tool, ["a:1", "b:2"], tmp_path / "config"):
        before = programs.said()
    assert [call for call in before if "delete" in call] == []
    assert [f"{image}" for call in before for image in ("a:1", "b:2") if image in call] == [
        "a:1",
        "b:2",
    ]
    assert "delete" in programs.said()[-1]


@pytest.mark.parametrize("failing", ["create", "load"])
def test_a_cluster_that_could_not_be_made_is_removed_too(programs, failing, tmp_path):
    programs.add("kind", f'case "$*" in *{failing}*) exit 1; esac')
    with (
        pytest.raises(ClusterTestError, match=rf"^kind .*{failing}.*: exit code 1$"),
        cluster(KIND, ["a:1"], tmp_path / "config"),
    ):
        raise AssertionError("not reached")
    assert "kind delete cluster --name rockstartf-test" in programs.said()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_cluster(programs, number, tmp_path):
    programs.add("kind")
    code = (
        "import signal, time; from pathlib import Path\n"
        "from tests.cluster.__main__ import _interrupt\n"
        "from tests.cluster.clusters import KIND, cluster\n"
        "signal.signal(signal.SIGTERM, _interrupt)\n"
        f"with cluster(KIND, ['a:1'], Path({str(tmp_path / 'config')!r})): time.sleep(120)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        until(lambda: any("docker-image" in call for call in programs.said()))
        process.send_signal(number)
        assert process.wait(60) != 0
    finally:
        process.kill()
    assert programs.said()[-1].startswith("kind delete cluster")


def test_a_forwarded_port(programs, tmp_path):
    line = "Forwarding from 127.0.0.1:43210 -> 8080"
    programs.add("kubectl", f"echo '{line}'; exec /bin/sleep 120")
    with Kubectl(tmp_path / "config").forwarded("gateway") as url:
        assert url == "http://127.0.0.1:43210"
    (call,) = programs.said()
    assert "--namespace=rockstartf port-forward service/gateway :http" in call


def test_a_port_that_is_not_forwarded(programs, tmp_path):
    programs.add("kubectl", "echo nothing")
    with (
        pytest.raises(ClusterTestError, match="did not say where it listens"),
        Kubectl(tmp_path / "config").forwarded("gateway"),
    ):
        raise AssertionError("not reached")
