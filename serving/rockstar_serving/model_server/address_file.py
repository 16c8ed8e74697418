"""Where a server listens, in a file for whoever started it with the port `auto`."""

import json
import os
from pathlib import Path


def write_address_file(path: Path, *, grpc: str | None, rest: str | None) -> None:
    """Write `{"grpc": "host:port" or null, "rest": …, "pid": …}`, whole or not at all.

    Raises:
        OSError: cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps({"grpc": grpc, "rest": rest, "pid": os.getpid()}) + "\n")
    aside.replace(path)
