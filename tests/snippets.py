"""The programs in the documentation."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(document: str, heading: str, language: str) -> list[str]:
    """The code blocks of one language under a second-level heading, in order."""
    _, _, rest = (DOCS / document).read_text().partition(f"\n## {heading}\n")
    section = rest.partition("\n## ")[0]
    found = [text for name, text in _BLOCK.findall(section) if name == language]
    assert found, f"{document} has no {language} under {heading}"
    return found
