"""The Indexed Job and the TrainJob of k8s/training: their numbers and names agree."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rockstar_cli.__main__ import cli
from rockstar_cli.transfer import push
from rockstar_training.indexed_job import main, worker_addresses
from tests.environments import environment
from tests.manifests import ROOT, by_kind_and_name
from tests.unit.k8s.test_combinations import CHECKS, NEWEST, OLDEST


@pytest.fixture(scope="module")
def manifests():
    return by_kind_and_name("k8s/training")


@pytest.fixture(scope="module")
def trainjob():
    return by_kind_and_name("k8s/training/trainjob")


def options(job):
    """The options of the container's command, as rockstar_training.indexed_job parses them."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "rockstar_training.indexed_job"]
    return parsed(container["args"])


def parsed(arguments):
    return main.make_context("indexed_job", list(arguments), resilient_parsing=True).params


def pod_of(runtime):
    """The job and the pod template of a ClusterTrainingRuntime."""
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert replicated["name"] == "node"
    return replicated["template"], replicated["template"]["spec"]["template"]


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


def test_another_job_pushes_what_they_trained(manifests):
    pushing = by_kind_and_name("k8s/training/push")["Job", "push"]["spec"]["template"]["spec"]
    (container,) = pushing["containers"]
    program, command, *arguments = container["command"] + container["args"]
    assert (program, command) == ("rockstar", "push")
    given = push.make_context("push", arguments).params
    trained: tuple[str, ...] = options(manifests["Job", "training"])["command"]
    model, workdir = trained[2], trained[-1]
    assert given["which"] == model
    assert given["models"] == Path(workdir.removeprefix("--workdir=")) / "models"
    training = manifests["Job", "training"]["spec"]["template"]["spec"]
    for pod in (pushing, training):
        (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "work"]
        (volume,) = [v for v in pod["volumes"] if v["name"] == "work"]
        claim = volume["persistentVolumeClaim"]["claimName"]
        assert (mount["mountPath"], claim) == ("/work", "training")


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
    pushing = by_kind_and_name("k8s/training/push")
    file.write_text(yaml.safe_dump_all([*manifests.values(), *pushing.values()]))
    command = [program, "--strict", "-k", release, "--quiet", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_trainjob_trains_as_the_indexed_job(manifests, trainjob):
    job = trainjob["TrainJob", "training"]["spec"]
    runtime = trainjob["ClusterTrainingRuntime", job["runtimeRef"]["name"]]
    assert "namespace" not in runtime["metadata"]
    template, pod = pod_of(runtime)
    # By this label Trainer finds what to change.
    ancestor = "trainer.kubeflow.org/trainjob-ancestor-step"
    assert template["metadata"]["labels"][ancestor] == "trainer"
    indexed = manifests["Job", "training"]["spec"]
    assert template["spec"]["backoffLimit"] == indexed["backoffLimit"]
    # The same pods, but for their names.
    ours, expected = pod["spec"], dict(indexed["template"]["spec"])
    del expected["subdomain"]
    (node,), (worker,) = ours["containers"], expected["containers"]
    assert node == {
        **{key: value for key, value in worker.items() if key != "args"},
        "name": "node",
    }
    assert {**ours, "containers": []} == {**expected, "containers": []}
    given, of_indexed = parsed(job["trainer"]["args"]), options(manifests["Job", "training"])
    assert given["command"] == of_indexed["command"]
    assert given["workers"] == job["trainer"]["numNodes"]
    # Trainer names JobSets after their TrainJob, and pods <JobSet>-<replicated job>-0-<index>.<JobSet>.
    assert worker_addresses(given["address"], 2) == [
        f"training-node-0-{n}.training:2222" for n in range(2)
    ]
    for key in (("PersistentVolumeClaim", "training"), ("NetworkPolicy", "training")):
        assert trainjob[key] == manifests[key]
    policy = trainjob["NetworkPolicy", "training"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def with_components(folder, tmp_path):
    """Manifests on GPUs, with a volume of data."""
    k8s = os.path.relpath(ROOT / "k8s" / "training", tmp_path.resolve())
    kustomization = {
        "resources": [f"{k8s}/{folder}"],
        "components": [f"{k8s}/components/{name}" for name in ("gpu", "data")],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return by_kind_and_name(str(tmp_path))


@pytest.mark.parametrize("folder", [".", "trainjob"])
def test_components_give_workers_gpus_and_data(folder, tmp_path):
    made = with_components(folder, tmp_path)
    if folder == "trainjob":
        _, template = pod_of(made["ClusterTrainingRuntime", "rockstartf"])
        arguments = made["TrainJob", "training"]["spec"]["trainer"]["args"]
    else:
        template = made["Job", "training"]["spec"]["template"]
        arguments = template["spec"]["containers"][0]["args"]
    pod = template["spec"]
    (worker,) = pod["containers"]
    assert worker["image"].endswith("-gpu")
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" in [each["key"] for each in pod["tolerations"]]
    mounts = {each["name"]: each for each in worker["volumeMounts"]}
    assert f"--data=folder:{mounts['data']['mountPath']}" in arguments
    (claim,) = [each["persistentVolumeClaim"] for each in pod["volumes"] if each["name"] == "data"]
    assert ("PersistentVolumeClaim", claim["claimName"]) in made


def test_trainer_knows_every_field(trainjob, tmp_path, pytestconfig):
    """Check documents against the classes of Trainer's Python package."""
    interpreter = environment(pytestconfig, "trainer", ["kubeflow-trainer-api==2.3.0"])
    documents = [
        each
        for found in (trainjob, with_components("trainjob", tmp_path))
        for each in found.values()
        if each["apiVersion"].startswith("trainer.kubeflow.org")
    ]
    assert len(documents) == 4
    # The classes drop fields that they do not know.
    program = """
import json, sys
from kubeflow_trainer_api import models
kept = [getattr(models, "TrainerV1alpha1" + each["kind"]).from_dict(each).to_dict() for each in json.load(sys.stdin)]
json.dump(kept, sys.stdout, default=str)
"""
    done = subprocess.run(
        [interpreter, "-c", program],
        input=json.dumps(documents),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == documents
