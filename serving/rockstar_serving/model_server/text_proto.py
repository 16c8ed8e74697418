"""Reading configuration files in protobuf's text format."""

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from rockstar_contract.text_files import EncodingError, read_text
from rockstar_serving.model_server.models.config import ConfigError

Kind = TypeVar("Kind", bound=Message)


def read_config(file: Path, where: str) -> str:
    """Read the text of a configuration file.

    Args:
        file: its path.
        where: name of the file in errors, such as "model config file /etc/models.config".

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return read_text(file)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from error
    except EncodingError as error:
        raise ConfigError(f"{where}: {error}") from error


def parse_text_proto(
    text: str, kind: type[Kind], where: str, *, hint: str = "", secret: bool = False
) -> Kind:
    """Parse a message.

    Args:
        text: of the file.
        kind: class of the message.
        where: name of the file in errors.
        hint: what to write instead, for errors.
        secret: whether errors must not quote the text.

    Raises:
        ConfigError: the text is in another format. The message contains that of TensorFlow
            Serving's log (protobuf's `text_format.cc`), for which its tests and scripts look.
    """
    try:
        return text_format.Parse(text, kind())
    except text_format.ParseError as error:
        found = f"line {error.GetLine()}" if secret else str(error)
        found = found.replace(f"{kind.DESCRIPTOR.file.package}.", "tensorflow.serving.")
        raise ConfigError(
            f"{where}: Error parsing text-format tensorflow.serving.{kind.DESCRIPTOR.name}: {found}"
            + (f" ({hint})" if hint else "")
        ) from (None if secret else error)
