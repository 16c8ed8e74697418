"""The programs in docs/clients.md that call a gateway, and the command for each."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.snippets import snippets

DOCUMENT = "clients.md"


@dataclass(frozen=True)
class Program:
    """A block of the document, and the others that it needs.

    Attributes:
        heading: above it.
        language: of the block.
        files: the names of the first, second, … block of this heading and language; the last one is run.
        command: what it is run with.
        needs: what must be installed, besides the command.
    """

    heading: str
    language: str
    files: tuple[str | None, ...]
    command: tuple[str, ...]
    needs: str = ""

    def write(self, folder: Path) -> list[str]:
        """Write it into a folder; the command that runs it there."""
        for tool in (self.command[0], self.needs or self.command[0]):
            if shutil.which(tool) is None:
                pytest.skip(f"there is no {tool}")
        blocks = snippets(DOCUMENT, self.heading, self.language)
        for name, text in zip(self.files, blocks, strict=False):
            if name:
                (folder / name).write_text(text)
        assert self.files[-1]
        return [*self.command, self.files[-1]]


PROGRAMS = {
    "curl": Program("curl", "sh", (*[None] * 5, "ask.sh"), ("bash",)),
    "our client": Program("Python", "python", ("ask.py",), (sys.executable,)),
    "requests": Program("Python", "python", (None, None, "ask.py"), (sys.executable,)),
    "Node": Program("JavaScript", "javascript", ("predict.mjs", "ask.mjs"), ("node",)),
    "Go": Program("Go", "go", ("ask.go",), ("go", "run")),
    "Java": Program("Java", "java", ("Ask.java",), ("java",), needs="javac"),
}
