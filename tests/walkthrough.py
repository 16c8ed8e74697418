"""The commands and files of docs/deploy.md, whose first section leads from nothing to a canary."""

import re

from tests.manifests import ROOT

PAGE = ROOT / "docs" / "deploy.md"
WALKTHROUGH = "From nothing to a canary"
CHART = "oci://ghcr.io/rockstartf/charts/rockstartf"
REGISTRY = "registry.example.org"


def blocks(language: str) -> list[tuple[str, str, str]]:
    """The fenced blocks of a language, each with the sections of second and third level it is in."""
    found, second, third = [], "", ""
    parts = re.split(
        r"^(##+ [^\n]*|```\w*\n.*?^```)$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL
    )
    for part in parts:
        if part.startswith("## "):
            second, third = part[3:], ""
        elif part.startswith("### "):
            third = part[4:]
        elif part.startswith(f"```{language}\n"):
            found.append((second, third, part.partition("\n")[2].removesuffix("```")))
    return found


def commands(section: str) -> dict[str, list[str]]:
    """The shell commands of a section of the second level, by sections of the third.

    A command goes on where a line is indented, or ends a loop. `k` is the alias of the runbook.
    """
    found: dict[str, list[str]] = {}
    for second, third, text in blocks("sh"):
        if second == section:
            text = re.sub(r"\\\n +", " ", text)
            text = re.sub(r"^k |(?<=&& )k ", "kubectl -n rockstartf ", text, flags=re.MULTILINE)
            found.setdefault(third, []).extend(re.split(r"\n(?! |done)", text.strip()))
    return found


def sections() -> list[str]:
    """The sections of the second level that have commands."""
    return list(dict.fromkeys(second for second, _, _ in blocks("sh")))


def file(name: str) -> str:
    """The content of a file that is shown with its name as a comment in the first line."""
    (text,) = [text for _, _, text in blocks("yaml") if text.startswith(f"# {name}\n")]
    return text
