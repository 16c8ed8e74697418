"""The files that one prediction enters, as docs/how-a-prediction-travels.md lists them.

`python -m tests.prediction_files` writes the lists into the page.
"""

import ast
import sys
import tempfile
import threading
from pathlib import Path
from unittest import mock

from benchmarks.structure import (
    ROOT,
    Trace,
    application,
    count,
    gateway_config,
    grpc_prediction,
    image_prediction,
    model_server,
)
from rockstar_serving.gateway import backends
from rockstar_serving.model_server.options import RestOptions
from tests.images import png, stroke
from tests.versions import write_classifier

PAGE = ROOT / "docs" / "how-a-prediction-travels.md"
KINDS = ("http", "grpc")


def trace_predictions(models: Path) -> dict[str, list[str]]:
    """Trace a second prediction of each kind in this process.

    Args:
        models: an empty folder.

    Returns:
        Paths relative to the repository, in the order in which they are first entered.
    """
    write_classifier(models)
    trace = Trace()
    files = {}
    threading.setprofile(trace)  # for the serving and batching threads
    try:
        # REST is off: its threads would be traced, too.
        with model_server(models, "toy", RestOptions(port=None)) as server:
            count(trace, grpc_prediction(server.grpc_port, "toy", (1, 8, 8, 1)))
            files["grpc"] = list(trace.files)
            with (
                # The model is quick, but not while it is traced.
                mock.patch.object(backends, "_QUICK_S", 60.0),
                gateway_config(models, "toy", server.grpc_port) as config,
                application(config) as app,
            ):
                count(trace, image_prediction(app, "toy", png(stroke())))
                files["http"] = list(trace.files)
    finally:
        threading.setprofile(None)
    return files


def listed(kind: str) -> list[str]:
    """The files that the page lists between the markers of a kind."""
    _, _, rest = PAGE.read_text().partition(_marker(kind, "begin"))
    lines = rest.partition(_marker(kind, "end"))[0].splitlines()
    return [line.split("`")[1] for line in lines if "`" in line]


def write(files: dict[str, list[str]]) -> None:
    """Write the lists, each file with the first line of its docstring."""
    text = PAGE.read_text()
    for kind, paths in files.items():
        begin, end = _marker(kind, "begin"), _marker(kind, "end")
        before, _, rest = text.partition(begin)
        lines = [f"{number}. `{path}`: {_summary(path)}" for number, path in enumerate(paths, 1)]
        text = "\n".join((before + begin, "", *lines, "", end)) + rest.partition(end)[2]
    PAGE.write_text(text)


def _marker(kind: str, place: str) -> str:
    return f"<!-- {kind}: {place} -->"


def _summary(path: str) -> str:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(trace_predictions(Path(folder)))
    sys.stdout.write(f"{PAGE}\n")
