"""Every combination of overlay and components, checked by tools for Kubernetes."""

import itertools
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.charts import ONLY_HERE, documents, rendered_charts
from tests.environments import environment
from tests.manifests import (
    K8S,
    OVERLAYS,
    ROOT,
    Manifest,
    canary_release,
    combinations,
    fullest,
    rendered,
)

pytestmark = pytest.mark.slow

# kubernetes-validate knows releases up to its own version.
OLDEST, NEWEST = "1.30", "1.37"
CHECKS = ["checkov==3.3.30", f"kubernetes-validate=={NEWEST}.0"]
# Kinds of the Gateway API and KEDA, whose schemas we have.
SCHEMAS = {
    file.stem: json.loads(file.read_text())
    for file in (ROOT / "tests" / "testdata" / "kubernetes").glob("*.json")
}
# Kinds of the Prometheus operator and cert-manager, for which there are none.
CUSTOM = {"Certificate", "Issuer", "PrometheusRule", "ServiceMonitor"}


@pytest.fixture(scope="module")
def checks(request) -> Path:
    """Folder of the checkers' commands."""
    return environment(request.config, "kubernetes", CHECKS).parent


@pytest.fixture(scope="module")
def chart(pytestconfig) -> dict[str, list[Manifest]]:
    """The manifests of the Helm chart that no combination has; hooks' pods need no probes."""
    rendered = rendered_charts(pytestconfig)
    return {
        name: [
            each
            for each in documents(rendered[name])
            # Where `helm install --namespace` puts it.
            if each["kind"] != "Pod" and each["metadata"].setdefault("namespace", "rockstartf")
        ]
        for name in ONLY_HERE
    }


@pytest.fixture(scope="module")
def everything(chart) -> dict[str, str]:
    """Each distinct manifest of all combinations, and of the Helm chart."""
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(lambda combination: rendered(*combination), combinations()))
    documents = dict.fromkeys(
        part for text in [*texts, canary_release()] for part in text.split("---\n")
    )
    documents |= {yaml.safe_dump(each): None for each in itertools.chain(*chart.values())}
    return {text: yaml.safe_load(text)["kind"] for text in documents}


def test_every_combination_renders(everything):
    assert set(everything.values()) > CUSTOM | SCHEMAS.keys()
    assert len(everything) > 40


@pytest.mark.parametrize("kind", SCHEMAS)
def test_custom_resources_match_their_schemas(everything, kind):
    found = [yaml.safe_load(text) for text, each in everything.items() if each == kind]
    assert found
    for each in found:
        Draft202012Validator(SCHEMAS[kind]).validate(each)


@pytest.mark.parametrize("release", [OLDEST, NEWEST])
def test_releases_know_every_field(everything, checks, tmp_path, release):
    file = tmp_path / "all.yaml"
    file.write_text(
        "---\n".join(
            text
            for text, kind in everything.items()
            if kind not in CUSTOM | SCHEMAS.keys()
            # Image volumes are newer than the oldest release.
            and not (release == OLDEST and "- image:\n" in text)
        )
    )
    command = [checks / "kubernetes-validate", "--strict", "-k", release, "--quiet", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_policies_fail_only_where_we_say_why(checks, chart, tmp_path):
    for number, (overlay, components) in enumerate(
        [*((each, ()) for each in OVERLAYS), *fullest()]
    ):
        file = tmp_path / f"{overlay}-{number}.yaml"
        file.write_text(rendered(overlay, components))
    for name, manifests in chart.items():
        if name == "openshift":
            # Assigns users with high numbers itself, which the checker does not know.
            continue
        (tmp_path / f"chart-{name}.yaml").write_text(yaml.safe_dump_all(manifests))
    command = [checks / "checkov", "--framework=kubernetes", "--skip-download", "--output=json"]
    done = subprocess.run(
        [*command, "--compact", "--quiet", "--directory", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 1000
    failed = {each["check_id"]: each["resource"] for each in report["results"]["failed_checks"]}
    skipped = yaml.safe_load((K8S / "checkov.yaml").read_text())["skip-check"]
    # Neither additional exceptions nor unnecessary ones.
    assert failed.keys() == set(skipped), failed
