"""Accessibility by axe-core, in a page."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

_RUN = """async () => (await axe.run()).violations.map(({ id, help, nodes }) =>
  `${id}: ${help}: ${nodes.map((node) => node.target.join(" ")).join(", ")}`)"""


def violations(page: Page, packages: Path) -> list[Any]:
    """What axe finds wrong with a page; `packages` is a node_modules folder."""
    # Not as a script element, which the pages' Content-Security-Policy forbids.
    page.evaluate((packages / "axe-core" / "axe.min.js").read_text())
    found: list[Any] = page.evaluate(_RUN)
    return found
