"""The component model-storage-s3: its container's command, against object storage over HTTP."""

import os
import re
import subprocess

import pytest

from tests.environments import environment
from tests.manifests import config_map, manifests, pod

# AWS's own client in its first version, which has the commands of the second; and a server for tests.
REQUIREMENTS = ["awscli==1.42.*", "moto[server]==5.1.*"]
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module")
def python(request):
    """The interpreter beside which `aws` is."""
    return environment(request.config, "object-storage", REQUIREMENTS)


@pytest.fixture
def endpoint(python):
    server = subprocess.Popen(
        [python, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with server:
        yield server.stdout.readline().strip()
        server.stdin.close()


def test_models_come_from_a_bucket(start_pods, trained_models, python, endpoint, tmp_path):
    documents = manifests("embedded", ("model-storage-s3",))
    (init,) = pod(documents, "model-server")["spec"]["initContainers"]
    variables = {each["name"]: each["value"] for each in init["env"]}
    variables |= config_map(documents, "model-storage") | KEYS | {"AWS_ENDPOINT_URL": endpoint}

    def aws(*arguments: str) -> None:
        done = subprocess.run(
            [python.parent / "aws", *arguments],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr

    bucket, target = variables["MODELS"], str(tmp_path / "models")
    aws("s3", "mb", bucket)
    aws("s3", "sync", "--no-progress", str(trained_models.workdir / "models"), bucket)
    # Kubernetes puts variables into arguments.
    arguments = [re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], a) for a in init["args"]]
    mounts = {each["name"]: each["mountPath"] for each in init["volumeMounts"]}
    assert arguments[-1] == mounts["models"]
    aws(*arguments[:-1], target)

    server = start_pods("embedded", ("model-storage-s3",), tmp_path / "models").model_server()
    assert server.probe("readinessProbe") == 200
    mounted = {each["name"]: each["mountPath"] for each in server.spec["volumeMounts"]}
    assert mounted["models"] == mounts["models"] == "/models"
