"""Files in TOML."""

import tomllib
from pathlib import Path
from typing import Any

from rockstar_contract.text_files import EncodingError, read_text


def read_toml(path: Path, refused: type[ValueError]) -> dict[str, Any]:
    """Read a file.

    Args:
        path: of the file.
        refused: what is raised where it cannot be read; the message names the file.
    """
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise refused(f"{path} cannot be read: {error.strerror}") from error
    except EncodingError as error:
        raise refused(f"{path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise refused(f"{path} is not TOML: {error}") from error
