"""The notebooks of the lecture, without running them: `make notebooks` does that."""

import ast
import json
import re
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
NOTEBOOKS = sorted((ROOT / "notebooks" / "rockstar_notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def cells(path, kind):
    found = json.loads(path.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def tags(cell):
    return cell["metadata"].get("tags", [])


def test_there_are_seven():
    assert [path.name[0] for path in NOTEBOOKS] == list("1234567")


@each_notebook
def test_exercises_have_a_solution_and_a_check(path):
    code = cells(path, "code")
    exercises = [number for number, cell in enumerate(code) if "exercise" in tags(cell)]
    assert exercises
    for number in exercises:
        assert ast.parse(code[number]["metadata"]["solution"])
        assert "hide-input" in tags(code[number + 1])
        assert code[number + 1]["metadata"]["jupyter"] == {"source_hidden": True}


@each_notebook
def test_the_committed_outputs_are_those_of_a_complete_run(path):
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    for cell in code:
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
        if "hide-input" in tags(cell):
            texts = [output["text"] for output in cell["outputs"] if "text" in output]
            assert "".join(texts[0]).startswith("Not yet")


@each_notebook
def test_outputs_are_small_and_of_no_particular_machine(path):
    text = path.read_text()
    assert len(text) < 400_000
    assert not re.search(r"/(home|Users|tmp|root)/", text)


@each_notebook
def test_links_lead_somewhere(path):
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)\s]+)\)", "".join(cell["source"])):
            assert target.startswith("https://") or (path.parent / target).exists(), target


@each_notebook
def test_nothing_is_loaded_from_the_network(path):
    sources = "".join("".join(cell["source"]) for cell in cells(path, "code"))
    assert not re.search(r"https?://|!pip|%pip", sources)


@each_notebook
def test_what_they_use_of_the_project_exists(path):
    code = cells(path, "code")
    sources = ["".join(cell["source"]) for cell in code]
    sources += [cell["metadata"].get("solution", "") for cell in code]
    found: dict[str, Any] = {}
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        match node:
            case ast.ImportFrom(module=str(module)) if module.startswith("rockstar_"):
                found |= {each.name: resolve_name(f"{module}.{each.name}") for each in node.names}
            case ast.Attribute(value=ast.Name(id=name)) if isinstance(found.get(name), ModuleType):
                assert hasattr(found[name], node.attr), f"{name}.{node.attr}"
    assert found
