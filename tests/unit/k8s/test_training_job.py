"""The Indexed Job of k8s/training: its numbers and names agree."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rockstar_cli.__main__ import cli
from rockstar_training.indexed_job import main, worker_addresses
from tests.environments import environment
from tests.manifests import ROOT, by_kind_and_name
from tests.unit.k8s.test_combinations import CHECKS, NEWEST, OLDEST


@pytest.fixture(scope="module")
def manifests():
    return by_kind_and_name("k8s/training")


def options(job):
    """The options of the container's command, as rockstar_training.indexed_job parses them."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "rockstar_training.indexed_job"]
    context = main.make_context("indexed_job", list(container["args"]), resilient_parsing=True)
    return context.params


def test_the_pods_names_are_those_of_the_headless_service(manifests):
    job, service = manifests["Job", "training"], manifests["Service", "training"]
    pod = job["spec"]["template"]
    (port,) = pod["spec"]["containers"][0]["ports"]
    # An Indexed Job's pods have the host names <job>-<index>.
    names = [f"{job['metadata']['name']}-{n}.{service['metadata']['name']}" for n in range(2)]
    given = options(job)
    addresses = worker_addresses(given["address"], given["workers"])
    assert addresses == [f"{name}:{port['containerPort']}" for name in names]
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


def test_the_number_of_workers_stands_in_one_place(manifests, tmp_path):
    shutil.copytree(ROOT / "k8s/training", tmp_path / "training")
    file = tmp_path / "training" / "job.yaml"
    file.write_text(file.read_text().replace("completions: 2", "completions: 5"))
    job = by_kind_and_name(str(tmp_path / "training"))["Job", "training"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert [job["spec"]["parallelism"], options(job)["workers"]] == [5, 5]


def test_the_workers_train_into_their_volume(manifests):
    job = manifests["Job", "training"]
    program, *arguments = options(job)["command"]
    assert program == "rockstar"
    done = CliRunner().invoke(cli, [*arguments, "--help"])
    assert done.exit_code == 0, done.output
    (workdir,) = [each for each in arguments if each.startswith("--workdir=")]
    mounts = job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    work = next(each for each in mounts if each["name"] == "work")
    assert Path(workdir.partition("=")[2]).is_relative_to(work["mountPath"])
    volume = manifests["PersistentVolumeClaim", "training"]
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]


def test_workers_reach_each_other_and_names(manifests):
    policy = manifests["NetworkPolicy", "training"]["spec"]
    labels = manifests["Job", "training"]["spec"]["template"]["metadata"]["labels"].items()
    workers = {"podSelector": policy["podSelector"]}
    assert policy["podSelector"]["matchLabels"].items() <= labels
    assert policy["ingress"] == [{"from": [workers]}]
    to_workers, to_names = policy["egress"]
    assert to_workers == {"to": [workers]}
    assert {each["port"] for each in to_names["ports"]} == {53}


def test_its_pods_are_restricted(manifests):
    pod = manifests["Job", "training"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (worker,) = pod["containers"]
    assert worker["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize("release", [OLDEST, NEWEST])
def test_releases_know_every_field(manifests, pytestconfig, tmp_path, release):
    program = environment(pytestconfig, "kubernetes", CHECKS).parent / "kubernetes-validate"
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(manifests.values()))
    command = [program, "--strict", "-k", release, "--quiet", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
