"""Run the notebooks of the lecture, as published and with the solutions of their exercises.

    python -m tests.notebooks --write 4-why 7-serve

As published, every check must say what is missing; with the solutions, that they are correct. No
cell may fail or write to standard error. `--write` saves the outputs, which GitHub and the
documentation show: of checks as published, and of other cells as solved, so that plots show where
an exercise leads.
"""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import click
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parents[2] / "notebooks" / "rockstar_notebooks"
# Each runs in less on two quiet cores; a loaded machine gets more time.
SECONDS_PER_CELL = 600


def text_of(cell: nbformat.NotebookNode, stream: str) -> str:
    """What a cell wrote to standard output or error."""
    return "".join(each.text for each in cell.outputs if each.get("name") == stream)


def is_check(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell checks an exercise."""
    return "hide-input" in cell.metadata.get("tags", ())


def run(path: Path, *, solved: bool) -> tuple[nbformat.NotebookNode, list[str]]:
    """Run a notebook in an empty folder; return it with its outputs, and what is wrong."""
    notebook = nbformat.read(path, as_version=4)
    wrong: list[str] = []
    for cell in notebook.cells:
        if solved and "solution" in cell.metadata:
            cell.source = cell.metadata["solution"]
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=SECONDS_PER_CELL, resources={"metadata": {"path": folder}}
        )
        client.record_timing = False
        try:
            # What a kernel itself logs; the output of cells takes another way.
            client.execute(stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            wrong.append(str(error))
        left = sorted(each.name for each in Path(folder).iterdir())
        if left:
            wrong.append(f"it left {', '.join(left)} in the working directory")
    begins = "Correct" if solved else "Not yet"
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if text_of(cell, "stderr"):
            wrong.append(f"cell {number} wrote to standard error: {text_of(cell, 'stderr')}")
        if is_check(cell) and not text_of(cell, "stdout").startswith(begins):
            wrong.append(f"cell {number}: expected {begins}…, got {text_of(cell, 'stdout')!r}")
    return notebook, wrong


def run_both(path: Path, write: bool) -> bool:
    """Run a notebook both ways, print what is wrong, and return whether nothing is."""
    started = perf_counter()
    published, wrong = run(path, solved=False)
    solved, wrong_solved = run(path, solved=True)
    for each in wrong:
        click.echo(f"{path.name}, as published: {each}", err=True)
    for each in wrong_solved:
        click.echo(f"{path.name}, solved: {each}", err=True)
    good = not wrong and not wrong_solved
    if write and good:
        for cell, other in zip(published.cells, solved.cells, strict=True):
            if cell.cell_type == "code" and not is_check(cell):
                cell.outputs = other.outputs
        nbformat.write(published, path)
    click.echo(f"{path.name}: {'good' if good else 'failed'}, {perf_counter() - started:.0f} s")
    return good


@click.command()
@click.option("--write", is_flag=True, help="Save the outputs in the notebooks.")
@click.argument("names", nargs=-1)
def main(write: bool, names: tuple[str, ...]) -> None:
    """Run the notebooks whose file names start with NAMES; by default all."""
    paths = [path for path in sorted(FOLDER.glob("*.ipynb")) if path.name.startswith(names or "")]
    if not paths:
        raise click.UsageError(f"no notebook in {FOLDER} starts with {' or '.join(names)}")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda path: run_both(path, write), paths))
    sys.exit(not all(results))


if __name__ == "__main__":
    main()
