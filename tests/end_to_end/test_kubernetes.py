"""The containers of the manifests as processes: commands, settings, files and probes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from tests.command_line import start
from tests.end_to_end.heldout import held_out
from tests.end_to_end.pods import Pod, entrypoint
from tests.environments import environment
from tests.load import Load
from tests.manifests import ROOT, by_kind_and_name, config_map, container, manifests, of_kind, pod
from tests.name_server import NameServer
from tests.object_store import KEYS, REQUIREMENTS, object_store
from tests.waiting import until

EMBEDDED = ("embedded", ())


@pytest.fixture(scope="module")
def digit(trained_models) -> tuple[bytes, str]:
    """A PNG, and the label that training predicted for it."""
    files, labels, _ = held_out(trained_models.workdir / "runs" / "cnn-1")
    return files[0], labels[0]


def ask(gateway: Pod, png: bytes, **headers: str) -> requests.Response:
    headers = {"Content-Type": "image/png", **headers}
    url = f"http://{gateway.addresses['http']}/predict/cnn"
    return requests.post(url, data=png, headers=headers, timeout=30)


def test_settings_probes_and_metrics(start_pods, digit):
    pods = start_pods("embedded", ("autoscale-inflight", "monitoring"))
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
def test_every_setting_is_one_and_has_effect(start_pods, overlay):
    pods = start_pods(overlay, ("canary",))
    variables = pods.environment("gateway", {})
    command = [sys.executable, "-m", "rockstar_serving.gateway", "--print-config"]
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
    program, *flags = entrypoint("tfserving", dockerfile) + spec["args"]
    assert Path(program).name == "tensorflow_model_server"
    # The embedded server rejects unknown flags, and lists the flags that only it has.
    help_text = subprocess.run(
        [sys.executable, "-m", "rockstar_serving.model_server", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    known, _, last = help_text.partition("Flags are those of tensorflow_model_server, except")
    own = set(re.findall(r"--\w+", last))
    assert "--address_file" in own
    names = {flag.partition("=")[0] for flag in flags}
    assert names <= set(re.findall(r"--\w+", known)) - own


def test_a_model_that_does_not_load_is_alive_and_not_ready(start_pods, trained_models, tmp_path):
    models = tmp_path / "models"
    shutil.copytree(trained_models.workdir / "models", models)
    (models / "cnn" / "1" / "model.tflite").write_bytes(b"no model")
    server = start_pods(*EMBEDDED, models).model_server("--require_all_models=false")
    assert server.probe("livenessProbe") == 200
    assert server.probe("readinessProbe") >= 400
    assert server.probe("startupProbe") >= 400


def test_a_canary_gets_its_share(start_pods, trained_models, tmp_path, digit):
    models = tmp_path / "models"
    shutil.copytree(trained_models.workdir / "models", models)
    shutil.copytree(models / "cnn" / "1", models / "cnn" / "2")
    pods = start_pods("embedded", ("canary",), models)
    gateway = pods.gateway(pods.model_server().addresses["grpc"])
    until(lambda: gateway.passes("readinessProbe"))
    versions = [
        ask(gateway, digit[0], **{"X-User-ID": f"user-{n}"}).json()["version"] for n in range(100)
    ]
    # One in ten on average; each user keeps the same version.
    assert 1 <= versions.count(2) <= 30
    assert set(versions) == {1, 2}


@pytest.mark.skipif(sys.platform != "linux", reason="needs more than one address of this machine")
@pytest.mark.slow
def test_a_rollout_of_the_model_server_loses_no_request(start_pods, digit):
    """The headless service adds the new pod, then removes the old one, which stops once unused."""
    pods = start_pods(*EMBEDDED)
    with socket.create_server(("127.0.0.2", 0)) as free:
        port = free.getsockname()[1]
    # As in the manifests, but with seconds instead of minutes.
    (age,) = [
        each
        for each in container(pods.documents, "model-server")["args"]
        if "max_connection" in each
    ]
    flags = (f"--port={port}", re.sub(r"\d+$", "500", age))

    def server(host):
        return pods.model_server(f"--host={host}", *flags)

    def calls(server):
        text = server.get("rest", "/monitoring/prometheus/metrics").text
        found = re.findall(r"^:tensorflow:serving:request_count\{.*\} (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    old = server("127.0.0.2")
    with NameServer("127.0.0.2") as names:
        gateway = pods.gateway(names.target(port))
        until(lambda: gateway.passes("readinessProbe"))
        with Load([f"http://{gateway.addresses['http']}"], "cnn", [digit[0]]) as load:
            for host in ("127.0.0.3", "127.0.0.4"):
                new = server(host)
                until(lambda new=new: new.passes("readinessProbe"))
                names.addresses.append(host)
                until(lambda new=new: calls(new) > 10 or load.failures)
                names.addresses.pop(0)
                # preStop waits long enough for this.
                until(lambda old=old: unused(old, calls) or load.failures)
                old.process.send_signal(signal.SIGTERM)
                assert old.process.wait(30) == 0
                old = new
            load.more()
    assert load.failures == []


def unused(server, calls):
    """Whether there was no call for a second."""
    before = calls(server)
    threading.Event().wait(1)
    return calls(server) == before


@pytest.mark.slow
def test_models_come_from_a_bucket(start_pods, trained_models, request, tmp_path):
    """New pods serve the versions that the settings list, whatever is added to the bucket."""
    documents = manifests("embedded", ("model-storage-s3",))
    (init,) = pod(documents, "model-server")["spec"]["initContainers"]
    variables = {each["name"]: each["value"] for each in init["env"]}
    variables |= config_map(documents, "model-storage") | KEYS
    mounts = {each["name"]: each["mountPath"] for each in init["volumeMounts"]}
    program, command, *arguments = init["command"]
    assert (program, arguments) == ("rockstar", [f"--models={mounts['models']}"])
    sources = variables["ROCKSTAR_PULL"].split()
    bucket = sources[0].rpartition("/")[0].rpartition("/")[0]
    models = tmp_path / "models"
    with object_store(environment(request.config, "object-storage", REQUIREMENTS)) as endpoint:
        merged = os.environ | variables | {"AWS_ENDPOINT_URL": endpoint}

        def rockstar(*arguments: object) -> None:
            started = start(*arguments, env=merged)
            _, errors = started.communicate(timeout=60)
            assert started.returncode == 0, errors

        put = requests.put(f"{endpoint}/{bucket.removeprefix('s3://')}", timeout=30)
        assert put.status_code == 200
        trained = trained_models.workdir / "models"
        for source in sources:
            model, version = source.split("/")[-2:]
            rockstar("push", f"{model}/{version}", bucket, "--models", trained)
        shutil.copytree(trained / "cnn", tmp_path / "newer" / "cnn")
        (tmp_path / "newer" / "cnn" / "1").rename(tmp_path / "newer" / "cnn" / "2")
        # As after a training.
        job = by_kind_and_name("k8s/training/push")["Job", "push"]["spec"]["template"]["spec"]
        model, destination, _ = job["containers"][0]["args"]
        rockstar("push", model, destination, "--models", tmp_path / "newer")
        rockstar(command, f"--models={models}")
        merged["ROCKSTAR_PULL"] = variables["ROCKSTAR_PULL"].replace("cnn/1", "cnn/2")
        rockstar(command, "--models", tmp_path / "after a change")

    assert [each.name for each in (models / "cnn").glob("[!.]*")] == ["1"]
    assert [each.name for each in (tmp_path / "after a change" / "cnn").glob("[!.]*")] == ["2"]
    server = start_pods("embedded", ("model-storage-s3",), models).model_server()
    assert server.probe("readinessProbe") == 200
    mounted = {each["name"]: each["mountPath"] for each in server.spec["volumeMounts"]}
    assert mounted["models"] == mounts["models"] == "/models"
