"""docs/settings.md and docs/deploy.md name every setting and every alert, and no others."""

import os
import re

import pytest
import yaml

from rockstar_training.indexed_job import main as indexed_job
from tests.manifests import ROOT, by_kind_and_name, kustomized, pod
from tests.settings_table import rows

PAGE = ROOT / "docs" / "deploy.md"
TEXT = PAGE.read_text()
ALERTS = [
    rule
    for group in yaml.safe_load((ROOT / "monitoring" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]


def test_the_gateways_settings_are_all_there_as_they_are():
    table = "\n".join(rows())
    text = (ROOT / "docs" / "settings.md").read_text()
    assert table in text, f"python -m tests.settings_table prints the table:\n{table}"


@pytest.mark.parametrize("file", ["Dockerfile.cpu", "Dockerfile.gpu"])
def test_arguments_of_images_are_there(file):
    names = set(re.findall(r"^ARG (\w+)", (ROOT / file).read_text(), re.MULTILINE))
    assert {name for name in names if f"`{name}`" not in TEXT} == set()


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "embedded"])
def test_flags_of_model_servers_are_there(overlay):
    server = by_kind_and_name(f"k8s/overlays/{overlay}")["Deployment", "model-server"]
    (container,) = server["spec"]["template"]["spec"]["containers"]
    dockerfile = (ROOT / "Dockerfile.cpu").read_text()
    flags = {each.partition("=")[0] for each in container["args"]}
    for entrypoint in re.findall(r"^ENTRYPOINT \[[^]]*\]", dockerfile, re.MULTILINE):
        flags |= set(re.findall(r'"(--\w+)', entrypoint))
    assert len(flags) > 6
    assert {flag for flag in flags if f"`{flag}`" not in TEXT} == set()


def test_the_batching_files_fields_are_there():
    file = (ROOT / "serving" / "tfserving" / "batching.config").read_text()
    fields = re.findall(r"^(\w+) \{ value: (\d+) \}", file, re.MULTILINE)
    assert fields
    for name, value in fields:
        assert re.search(rf"\| `{name}` \| {value} \|", TEXT), name


def test_settings_of_components_are_there():
    files = (ROOT / "k8s" / "components").glob("*/settings.env")
    names = {name for file in files for name in re.findall(r"\b([A-Z][A-Z_]+)=", file.read_text())}
    assert len(names) > 3
    text = TEXT + (ROOT / "docs" / "settings.md").read_text()
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_options_of_a_training_worker_are_there():
    options = {each.opts[0] for each in indexed_job.params if each.opts[0].startswith("--")}
    assert {option for option in options if f"`{option}`" not in TEXT} == set()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda each: each["alert"])
def test_every_alert_has_its_section_and_points_there(alert):
    section = re.search(rf"^### {alert['alert']}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, "no section"
    # What to check, and what to do.
    assert "```\n" in section[1]
    assert re.search(r"^- ", section[1], re.MULTILINE)
    file, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert ROOT / file == PAGE
    assert anchor == alert["alert"].lower()


def test_the_runbook_has_no_alert_that_is_none():
    runbook = TEXT.partition("## Runbook")[2]
    assert re.findall(r"^### (.*)$", runbook, re.MULTILINE) == [each["alert"] for each in ALERTS]


@pytest.mark.parametrize(("number", "version"), [(0, "0.1.0"), (1, "0.2.0")])
def test_the_overlays_that_are_shown_can_be_applied(tmp_path, number, version):
    shown = re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", TEXT, re.DOTALL)
    assert len(shown) == 2
    # Kustomize rejects absolute paths.
    k8s = os.path.relpath(ROOT / "k8s", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(shown[number].replace("../k8s", k8s))
    documents = by_kind_and_name(str(tmp_path))
    images = {
        name: document["spec"]["template"]["spec"]["containers"][0]["image"]
        for (kind, name), document in documents.items()
        if kind == "Deployment"
    }
    assert images == {
        "gateway": f"registry.example.org/rockstartf/gateway:{version}",
        "model-server": f"registry.example.org/rockstartf/model-server:{version}",
    }
    namespace = ("rockstartf", "rockstartf-canary")[number]
    assert ("Namespace", namespace) in documents


@pytest.mark.parametrize(
    ("component", "shown"),
    [
        ("model-storage-s3", "s3://bucket/models/cnn/3 "),
        ("model-image", "registry.example.org/models/cnn:3"),
        ("model-storage-pvc", "--model_config_file=/models/models.config"),
    ],
)
def test_the_ways_to_get_models_that_are_shown_can_be_applied(tmp_path, component, shown):
    blocks = re.findall(r"```yaml\n(patches:.*?)```", TEXT, re.DOTALL)
    (patches,) = [block for block in blocks if shown in block]
    k8s = os.path.relpath(ROOT / "k8s", tmp_path.resolve())
    kustomization = {
        "resources": [f"{k8s}/overlays/cpu"],
        "components": [f"{k8s}/components/{component}"],
    }
    file = tmp_path / "kustomization.yaml"
    file.write_text(yaml.safe_dump(kustomization))
    before = kustomized(tmp_path)
    assert shown not in before
    file.write_text(yaml.safe_dump(kustomization) + patches)
    after = kustomized(tmp_path)
    assert shown in after
    # A change is a rollout.
    old, new = (pod(list(yaml.safe_load_all(text)), "model-server") for text in (before, after))
    assert old != new


@pytest.mark.parametrize("page", ["docs/deploy.md", "docs/containers.md", "k8s/README.md"])
def test_requests_send_files_of_a_fresh_clone(page):
    files = re.findall(r"curl\b.*@([^ '\"]+)", (ROOT / page).read_text())
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []
