"""Configuration of the documentation: `make docs` builds it with Sphinx.

The pages also work on GitHub, so they link to files outside this folder by relative paths. The
build turns these into links to the repository. A path that does not exist is a warning, and fails
the build.
"""

import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.append(str(DOCS))

from generated import commands, http_api  # noqa: E402

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_SOURCE = _PROJECT["urls"]["Source"]

project = "RockstarTF"
author = "The RockstarTF authors"
project_copyright = "2026 the RockstarTF authors"
version = release = _PROJECT["version"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
# The notebooks are shown with the outputs that they are committed with (`make notebooks`): running
# them would take the build minutes.
nb_execution_mode = "off"
# JSON examples with … in them.
suppress_warnings = ["misc.highlighting_failure"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
myst_url_schemes = ("http", "https", "mailto")

autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
copybutton_selector = "div.highlight-sh pre, div.highlight-python pre, div.highlight-default pre"

html_theme = "furo"
html_title = f"RockstarTF {release}"
html_theme_options = {
    "source_repository": _SOURCE,
    "source_branch": "main",
    "source_directory": "docs/",
}

linkcheck_ignore = [r"http://(127\.0\.0\.1|localhost)", rf"{re.escape(_SOURCE)}/"]

# What is appended to pages.
_GENERATED = {"http-api": http_api, "commands": commands}
_LINK = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def _link_to_repository(document: str, text: str) -> str:
    """Replace relative links that leave this folder."""

    def absolute(match: re.Match[str]) -> str:
        target = (DOCS / match[1]).resolve()
        if not target.exists():
            logging.getLogger(__name__).warning("%s: no file %s", document, match[1])
        kind = "tree" if target.is_dir() else "blob"
        return f"]({_SOURCE}/{kind}/main/{target.relative_to(ROOT)}{match[2] or ''})"

    return _LINK.sub(absolute, text)


def _read(_app: Sphinx, document: str, source: list[str]) -> None:
    source[0] = source[0].replace("](../notebooks/rockstar_notebooks/", "](lecture/")
    source[0] = _link_to_repository(document, source[0])
    if document in _GENERATED:
        source[0] += _GENERATED[document]()


def _read_included(_app: Sphinx, _relative_path: Path, document: str, content: list[str]) -> None:
    # The changelog's links are relative to the repository's folder.
    content[0] = content[0].replace("](docs/", "](")
    content[0] = _link_to_repository(document, content[0])


def _copy_notebooks(_app: Sphinx) -> None:
    # Sphinx reads pages in its own folder only, and follows symbolic links to their target.
    lecture = DOCS / "lecture"
    shutil.rmtree(lecture, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks" / "rockstar_notebooks", lecture)


def _hide_source_links(
    _app: Sphinx, document: str, _template: str, context: dict[str, Any], _tree: Any
) -> None:
    # The theme would link to the copies, which are not in the repository.
    if document.startswith("lecture/"):
        context["page_source_suffix"] = ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the changes to pages."""
    app.connect("builder-inited", _copy_notebooks)
    app.connect("html-page-context", _hide_source_links)
    app.connect("source-read", _read)
    app.connect("include-read", _read_included)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
