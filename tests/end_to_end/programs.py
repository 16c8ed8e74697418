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
    """A code block of the document, and the blocks that it needs.

    Attributes:
        heading: above it.
        language: of the block.
        files: file names of the first, second, … block of this heading and language; the last one runs.
        command: the command that runs it.
        needs: packages to install besides the command.
    """

    heading: str
    language: str
    files: tuple[str | None, ...]
    command: tuple[str, ...]
    needs: str = ""

    def write(self, folder: Path) -> list[str]:
        """Write the files to a folder; returns the command that runs them there."""
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
