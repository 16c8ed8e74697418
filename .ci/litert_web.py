"""Fetch LiteRT for browsers from npm into the package of the pages, which the wheel includes.

Its files are not in the repository. They are compressed for the web; the license text is that of
LiteRT's Python package. Only one variant of the WebAssembly file is kept: without threads, which
need headers that break other pages, and without relaxed SIMD, which not all browsers have.
"""

import base64
import gzip
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "serving/rockstar_serving/gateway/pages/litert"
VERSION = "2.5.3"
PACKAGES = {
    f"@litertjs/core@{VERSION}": "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",  # noqa: E501
    f"@litertjs/wasm-utils@{VERSION}": "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",  # noqa: E501
}
LOADER = "litert_wasm_compat_internal"
IMPORT = 'import { createWasmLib } from "@litertjs/wasm-utils";'


def main() -> None:
    """Write the files, unless this version is there."""
    stamp = TARGET / "version.txt"
    if stamp.is_file() and stamp.read_text().strip() == VERSION:
        return
    with tempfile.TemporaryDirectory() as folder:
        core, utilities = (_unpacked(name, Path(folder)) for name in PACKAGES)
        TARGET.mkdir(parents=True, exist_ok=True)
        _compress("litert.js", _module(core / "dist/index.js", utilities / "dist/index.js"))
        for ending in ("js", "wasm"):
            _compress(f"{LOADER}.{ending}", (core / f"wasm/{LOADER}.{ending}").read_bytes())
    distribution = importlib.metadata.distribution("ai-edge-litert")
    (license_file,) = (file for file in distribution.files or () if file.name == "LICENSE")
    (TARGET / "LICENSE.txt").write_text(license_file.read_text())
    stamp.write_text(f"{VERSION}\n")
    size = sum(file.stat().st_size for file in TARGET.iterdir())
    print(f"LiteRT {VERSION} for browsers: {size / 1e6:.1f} MB in {TARGET}")


def _unpacked(name: str, folder: Path) -> Path:
    """Fetch a package, compare its hash, and return the folder of its files."""
    packed = subprocess.run(
        ["npm", "pack", "--json", name],  # noqa: S607
        cwd=folder,
        stdout=subprocess.PIPE,
        check=True,
    )
    document = json.loads(packed.stdout)
    (entry,) = document if isinstance(document, list) else document.values()
    archive = folder / entry["filename"]
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != PACKAGES[name]:
        sys.exit(f"{name}: expected the SHA-512 {PACKAGES[name]}, got {found}")
    target = folder / re.sub(r"\W", "-", name)
    with tarfile.open(archive) as files:
        files.extractall(target, filter="data")
    return target / "package"


def _module(core: Path, utilities: Path) -> bytes:
    """Join two modules to one: browsers do not find packages by name."""
    text, helper = (
        re.sub(r"^//# sourceMappingURL=.*$", "", path.read_text(), flags=re.MULTILINE)
        for path in (core, utilities)
    )
    if text.count(IMPORT) != 1:
        sys.exit(f"{core}: expected the line {IMPORT}")
    helper = re.sub(r"export \{.*?\};", "", helper, flags=re.DOTALL)
    notice = (
        f"// LiteRT.js {VERSION}, Copyright 2025 Google LLC, Apache License 2.0 (LICENSE.txt).\n"
        "// Changed: @litertjs/wasm-utils is part of this file instead of being imported.\n"
    )
    return (notice + text.replace(IMPORT, helper)).encode()


def _compress(name: str, content: bytes) -> None:
    # Without a time, so that the same files are written again.
    (TARGET / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))


if __name__ == "__main__":
    main()
