"""Files for GitHub and for citations: valid, and in agreement with pyproject.toml."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", WORKFLOWS),
        ("github-issue-forms", FORMS),
        ("github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
        ("dependabot", [GITHUB / "dependabot.yml"]),
        ("citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_schema(schema, files):
    assert files
    command = [sys.executable, "-m", "check_jsonschema", f"--builtin-schema=vendor.{schema}"]
    # The checker cannot infer the type of CITATION.cff from its name.
    done = subprocess.run(
        [*command, "--default-filetype=yaml", *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_locked_down(workflow):
    content = yaml.safe_load(workflow.read_text())
    assert content["permissions"] == {"contents": "read"}
    assert "concurrency" in content
    for job in content["jobs"].values():
        assert "timeout-minutes" in job
    for action in re.findall(r"uses: (.*)", workflow.read_text()):
        assert re.fullmatch(r"docker://\S+:[\d.]+|[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_workflows_cover_the_supported_versions():
    tests = yaml.safe_load((GITHUB / "workflows" / "tests.yml").read_text())["jobs"]
    tested = {*tests["test"]["strategy"]["matrix"]["python"], "3.14"}
    prefix = "Programming Language :: Python :: 3."
    assert tested == {
        each.rpartition(" ")[2] for each in PROJECT["classifiers"] if each.startswith(prefix)
    }
    assert "--python=3.14" in tests["serve"]["steps"][-1]["run"]
    assert PROJECT["requires-python"] == ">=3.11,<3.15"


def test_citation_and_changelog_have_the_projects_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Source"]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.*)$", changelog, re.MULTILINE)[0] == "[Unreleased]"
    link = re.search(r"^\[Unreleased\]: (\S+)$", changelog, re.MULTILINE)
    assert link
    assert link[1].startswith(PROJECT["urls"]["Source"])
    kinds = set(re.findall(r"^### (.*)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
