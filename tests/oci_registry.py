"""A registry of images for tests: Debian's docker-registry, in its own process."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml


@contextmanager
def oci_registry(folder: Path, **settings) -> Iterator[str]:
    """Run a registry that stores images in a folder; yields its HOST:PORT."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry, a package of Debian")
    config = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": "127.0.0.1:0"},
        **settings,
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    with subprocess.Popen(
        [program, "serve", folder / "config.yml"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        address = None
        for line in server.stderr:
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                address = found[1]
                break
        # It stops when nobody reads its log.
        reader = threading.Thread(target=server.stderr.read)
        reader.start()
        try:
            assert address is not None, f"{program} did not start"
            yield address
        finally:
            server.terminate()
            reader.join()
