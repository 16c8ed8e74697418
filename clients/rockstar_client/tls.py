"""TLS, for both transports."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from rockstar_contract.errors import InvalidInputError


@dataclass(frozen=True)
class Tls:
    """Whom to trust, and who we are; paths of PEM files.

    Attributes:
        ca: certificates of the authorities that may vouch for the server; None: the usual ones.
        certificate: ours, with its chain, for servers that ask for one.
        key: of our certificate, where it is not in the same file.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise InvalidInputError("tls.certificate", expected="the key's", got="a key alone")

    def context(self) -> ssl.SSLContext:
        """For HTTP.

        Raises:
            InvalidInputError: a file cannot be read.
        """
        ca, _, _ = self.read()
        try:
            context = ssl.create_default_context(cadata=ca.decode() if ca else None)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise InvalidInputError(
                "tls", expected="PEM files, a key that fits its certificate", got=str(error)
            ) from error
        return context

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The contents of the files: authorities, certificate, key.

        Raises:
            InvalidInputError: one cannot be read.
        """
        key = self.key or self.certificate
        return (
            _content(self.ca, "tls.ca"),
            _content(self.certificate, "tls.certificate"),
            _content(key, "tls.key"),
        )


def _content(path: str | Path | None, field: str) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            field, expected="a readable PEM file", got=f"{path} ({error.strerror})"
        ) from error
