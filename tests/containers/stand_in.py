"""A base image and a package source for test builds without the internet."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit


def make_stand_in(environment: dict[str, str]) -> str:
    """An image like python:3.13-slim-trixie from Debian's packages; built once per machine."""
    name = "localhost/rockstartf-stand-in:trixie"
    exists = subprocess.run(["podman", "image", "exists", name], env=environment, check=False)
    if exists.returncode == 0:
        return name
    system = [
        *("mmdebstrap", "--quiet", "--variant=minbase"),
        "--include=python3,python3-pip,python3-venv,ca-certificates",
        *("--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*"),
        "--dpkgopt=path-exclude=/usr/share/man/*",
        '--customize-hook=ln -s python3 "$1/usr/bin/python"',
        '--customize-hook=rm "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
        "trixie",
    ]
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    into = ["podman", "import", "--quiet", f"--change=ENV {path}", "-", name]
    with subprocess.Popen(system, stdout=subprocess.PIPE) as made:
        subprocess.run(into, stdin=made.stdout, env=environment, check=True, capture_output=True)
    assert made.returncode == 0, "mmdebstrap failed"
    return name


def pip_settings() -> tuple[str, list[str]]:
    """This machine's pip settings as a pip.conf, and the files and folders that it names."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings, paths = {}, []
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = words = str(ast.literal_eval(value)).split()
        paths += [path for word in words if (path := _named_path(name, word))]
    lines = [f"{name} = {' '.join(words)}" for name, words in settings.items()]
    return "\n".join(["[global]", *lines, ""]), sorted(set(paths))


def _named_path(setting: str, word: str) -> str:
    url = urlsplit(word)
    if url.scheme not in ("", "file") or not url.path.startswith("/"):
        return ""
    # Pages of an index link to files beside it.
    path = Path(url.path).parent if "index" in setting else Path(url.path)
    return str(path) if path.exists() and len(path.parts) > 1 else ""


if __name__ == "__main__":
    make_stand_in(dict(os.environ))
