"""Dockerfiles and the files beside them: lint, pins, and agreement."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.environments import pinned

ROOT = Path(__file__).parents[3]
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.gpu")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def program(name: str) -> str:
    """A development tool, of the environment that runs this."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is not installed: make test does it"
    return found


def stages(dockerfile: str) -> dict[str, str]:
    """The text of each stage, comments and blank lines left out."""
    lines = (ROOT / dockerfile).read_text().splitlines()
    text = "\n".join(line for line in lines if line and not line.startswith("#"))
    found = re.split(r"^FROM (?=.* AS )", text, flags=re.M)[1:]
    return {part.splitlines()[0].rpartition(" AS ")[2]: part for part in found}


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_hadolint_finds_nothing(dockerfile):
    done = subprocess.run(
        [program("hadolint"), str(ROOT / dockerfile)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_yaml_files_are_clean():
    files = [ROOT / "compose.yaml", *sorted((ROOT / "monitoring").glob("*.yaml"))]
    rules = "{extends: default, rules: {line-length: disable, document-start: disable, braces: disable}}"
    done = subprocess.run(
        [program("yamllint"), "--strict", "-d", rules, *map(str, files)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_bases_are_pinned_build_arguments(dockerfile):
    text = (ROOT / dockerfile).read_text()
    bases = re.findall(r"^FROM (\S+)", text, flags=re.M)
    ours = stages(dockerfile)
    for base in bases:
        assert base in ours or base == "scratch" or re.fullmatch(r"\$\{[A-Z_]+\}", base)
    for name, value in re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, flags=re.M):
        assert re.search(r":(v?\d+\.\d+|\$\{TFSERVING_VERSION\})", value), name


def test_a_release_pins_the_bases_by_digest(tmp_path):
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    (step,) = (s for s in workflow["jobs"]["bases"]["steps"] if s.get("id") == "resolve")
    (tmp_path / "docker").write_text('#!/bin/sh\nshift 5\necho "sha256:of-$1"\n')
    (tmp_path / "docker").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_OUTPUT": str(tmp_path / "output")}
    script = ["bash", "-eo", "pipefail", "-c", step["run"]]
    subprocess.run(script, cwd=ROOT, env=environment, check=True, capture_output=True)
    pinned_bases = dict(re.findall(r"^(\w+_IMAGE)=(\S+)$", (tmp_path / "output").read_text(), re.M))
    for dockerfile in DOCKERFILES:
        names = re.findall(r"^ARG (\w+_IMAGE)=", (ROOT / dockerfile).read_text(), flags=re.M)
        assert set(names) <= pinned_bases.keys()
    for base in pinned_bases.values():
        image, _, digest = base.partition("@")
        assert digest == f"sha256:of-{image}"
        assert "$" not in image
    (build,) = (
        s for s in workflow["jobs"]["images"]["steps"] if "build-push-action" in str(s.get("uses"))
    )
    assert "needs.bases.outputs.cpu" in build["with"]["build-args"]


@pytest.mark.parametrize("image", ["gateway", "model-server", "trainer"])
def test_images_install_the_pinned_packages_by_their_hashes(image):
    text = (ROOT / "requirements" / f"{image}.txt").read_text()
    entries = re.split(r"^(?=\S)", text, flags=re.M)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    versions = {entry.split(" ", 1)[0] for entry in entries}
    constraints = (ROOT / "constraints.txt").read_text()
    pinned_names = {line.partition("==")[0] for line in constraints.splitlines()}
    ours = {each for each in versions if each.partition("==")[0] in pinned_names}
    assert ours <= {line.split(" ", 1)[0] for line in constraints.splitlines()}
    names = {each.partition("==")[0] for each in versions}
    assert {re.split("[<>=]", each)[0] for each in PROJECT["dependencies"]} <= names
    assert (
        f"--require-hashes --requirement requirements/{image}.txt"
        in (ROOT / "Dockerfile.cpu").read_text()
    )


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_versions_are_those_of_the_project(dockerfile):
    text = (ROOT / dockerfile).read_text()
    versions = set(re.findall(r"^ARG VERSION=(\S+)$", text, flags=re.M))
    assert versions == {PROJECT["version"]}
    assert f"ARG TFSERVING_VERSION={pinned('tensorflow')}\n" in text


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_containers_run_without_root_or_a_shell(dockerfile):
    finals = {name: text for name, text in stages(dockerfile).items() if "ENTRYPOINT" in text}
    assert finals
    for name, text in finals.items():
        assert "\nUSER 10001:10001\n" in text, name
        assert re.search(r"^ENTRYPOINT \[", text, flags=re.M), name
        assert re.search(r"^HEALTHCHECK (NONE|.*\\\n +CMD \[)", text, flags=re.M), name
        assert "org.opencontainers.image.title=" in text, name


def test_stages_that_both_have_are_the_same():
    cpu, gpu = stages("Dockerfile.cpu"), stages("Dockerfile.gpu")
    shared = (cpu.keys() & gpu.keys()) - {"trainer", "tfserving"}
    assert {"python", "code", "gateway-packages", "trained", "checked-models"} <= shared
    assert {name: cpu[name] for name in shared} == {name: gpu[name] for name in shared}


def test_a_gpus_memory_is_not_taken_whole():
    serving, trainer = stages("Dockerfile.gpu")["tfserving"], stages("Dockerfile.gpu")["trainer"]
    assert "--per_process_gpu_memory_fraction=0.8" in serving
    assert "TF_FORCE_GPU_ALLOW_GROWTH=true" in trainer


def test_the_context_holds_exactly_the_copied_files():
    ignore = (ROOT / ".dockerignore").read_text().split("\n")
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert "*" in ignore
    copied = set()
    for dockerfile in DOCKERFILES:
        for line in re.findall(
            r"^COPY (?!--from)(.*) \S+$", (ROOT / dockerfile).read_text(), flags=re.M
        ):
            copied |= {path.split("/")[0] for path in line.split()}
    assert copied == kept


def test_the_gateway_needs_no_litert():
    assert not any("litert" in requirement for requirement in PROJECT["dependencies"])
    assert any("litert" in requirement for requirement in PROJECT["optional-dependencies"]["serve"])


def test_prometheus_watches_the_alerts_that_are_mounted():
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus.yaml").read_text())
    assert config["rule_files"] == ["alerts.yaml"]
    alerts = (ROOT / "monitoring" / "alerts.yaml").read_text()
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert set(re.findall(r'job="([^"]+)"', alerts)) <= jobs
