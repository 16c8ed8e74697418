"""The kustomization in k8s/README.md, on a release in a git repository: everything is set without an edited copy."""

import re
import shutil
import subprocess

import pytest
import yaml
from google.protobuf import text_format

from tests.manifests import ROOT, config_map, container, kustomized, of_kind
from tfs_api.messages.model_server_config_pb2 import ModelServerConfig

REPOSITORY = "https://github.com/rockstartf/rockstartf"
MODELS = 'model_config_list { config { name: "pets" base_path: "/models/pets" } }\n'


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    """The rendered manifests of the kustomization."""
    if shutil.which("git") is None:
        pytest.skip("needs git, with which kustomize fetches")
    release = tmp_path_factory.mktemp("release")
    for folder in ("k8s", "monitoring", "serving/tfserving"):
        shutil.copytree(ROOT / folder, release / folder)
    git = ["git", "-C", release, "-c", "user.name=t", "-c", "user.email=t@example.org"]
    version = re.findall(rf"{REPOSITORY}//\S+\?ref=(v[\d.]+)", (ROOT / "k8s/README.md").read_text())
    assert len(set(version)) == 1
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", version[0]]):
        subprocess.run([*git, *command], check=True)
    (text,) = re.findall(
        rf"```yaml\n(apiVersion: kustomize.*?{REPOSITORY}.*?)```",
        (ROOT / "k8s/README.md").read_text(),
        re.DOTALL,
    )
    own = tmp_path_factory.mktemp("own")
    (own / "kustomization.yaml").write_text(text.replace(REPOSITORY, f"file://{release}"))
    (own / "models.config").write_text(MODELS)
    return list(yaml.safe_load_all(kustomized(own)))


def test_models_and_probes(applied):
    settings = config_map(applied, "gateway-settings")
    assert settings["ROCKSTAR_MODELS"] == "pets"
    # What it does not name is kept.
    assert settings["ROCKSTAR_UPSTREAM"] == "dns:///model-server:8500"
    files = config_map(applied, "tfserving-config")
    served = text_format.Parse(files["models.config"], ModelServerConfig())
    assert [each.name for each in served.model_config_list.config] == ["pets"]
    assert "max_batch_size" in files["batching.config"]
    server = container(applied, "model-server")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["path"].startswith("/v1/models/pets")


def test_images_and_storage(applied):
    assert container(applied, "gateway")["image"] == "registry.example.org/gateway:7"
    image = container(applied, "model-server")["image"]
    assert image.startswith("ghcr.io/rockstartf/model-server:")
    assert "models" in of_kind(applied, "PersistentVolumeClaim")


def test_routes(applied):
    route = of_kind(applied, "HTTPRoute")["gateway"]["spec"]
    assert route["hostnames"] == ["pets.example.org"]
    assert route["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
