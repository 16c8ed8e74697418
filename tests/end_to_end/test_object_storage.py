"""The component model-storage-s3: its container's command, against object storage over HTTP."""

import os
import re
import subprocess

import pytest

from tests.environments import environment
from tests.manifests import config_map, manifests, pod
from tests.object_store import KEYS, REQUIREMENTS, object_store


@pytest.fixture(scope="module")
def python(request):
    """The interpreter beside which `aws` is."""
    return environment(request.config, "object-storage", REQUIREMENTS)


@pytest.fixture
def endpoint(python):
    with object_store(python) as endpoint:
        yield endpoint


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
