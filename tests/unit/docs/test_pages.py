"""README, the pages of docs/ and other Markdown files: links, paths and commands exist."""

import ast
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from rockstar_cli.__main__ import cli

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    ROOT / "k8s" / "README.md",
]
FOLDERS = "benchmarks|clients|commandline|contract|docs|examples|k8s|monitoring|notebooks|serving|tests|training"
PACKAGES = {
    "benchmarks": ROOT,
    "rockstar_client": ROOT / "clients",
    "rockstar_contract": ROOT / "contract",
    "rockstar_serving": ROOT / "serving",
    "rockstar_training": ROOT / "training",
    "tests": ROOT,
}
# Pages whose anchors are generated when the documentation is built.
GENERATED = {DOCS / "commands.md", DOCS / "http-api.md", DOCS / "changelog.md"}
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub creates from a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in headings}


URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
# Our sites, and the files that they show.
SITES = {
    rf"{URLS['Documentation']}(.*)/": r"docs/\1.md",
    rf"{URLS['Source']}/blob/main/(.*)": r"\1",
    rf"{URLS['Source'].replace('github.com', 'raw.githubusercontent.com')}/main/(.*)": r"\1",
}


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", page.read_text())


def test_links_in_the_readme_work_outside_the_repository():
    assert all(target.startswith("https://") for target in links(ROOT / "README.md"))


@each_page
def test_links_lead_somewhere(page):
    for target in links(page):
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        if re.match(r"https?:", target):
            found = [
                re.sub(site, shown, file) for site, shown in SITES.items() if re.match(site, file)
            ]
            if not found:
                continue
            path = ROOT / found[0]
        assert path.exists(), target
        if anchor and path not in GENERATED:
            assert anchor in anchors(path.read_text()), target


@each_page
def test_named_paths_exist(page):
    named = re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]*\w", page.read_text())
    assert {path for path in named if not (ROOT / path).exists()} == set()


@each_page
def test_named_modules_exist(page):
    for name in re.findall(r"\bpython -m ([\w.]+)", page.read_text()):
        package = name.partition(".")[0]
        if package in PACKAGES:
            path = PACKAGES[package].joinpath(*name.split("."))
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


@each_page
def test_python_imports_exist(page):
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("rockstar_"):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


@each_page
def test_named_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"[`\n(]make ([a-z-]+)", page.read_text())) <= targets


@each_page
def test_commands_take_the_options_shown(page):
    text = page.read_text()
    blocks = re.findall(r"^```(?:sh|bash)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    shown = [*lines, *re.findall(r"`([^`\n]*)`", text)]
    for line in shown:
        match = re.search(r"(?:^|[;&|] |\w=\S* )rockstar ([a-z][a-z-]*)(.*)", line)
        if not match or match[1] == "model-server":
            continue
        context = click.Context(cli)
        command = cli.get_command(context, match[1])
        assert command, line
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        words = shlex.split(match[2].partition(" #")[0].partition("…")[0].replace("'", ""))
        used = {word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2}
        assert used <= options | {"--help"}, line


def test_named_tests_exist():
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text()))
    assert named
    lost = ", ".join(sorted(named - defined))
    assert not lost, (
        f"SECURITY.md names tests that do not exist: {lost}. If they were renamed, use the new names "
        "there; if they were removed, name tests of the same controls, or remove the controls."
    )
