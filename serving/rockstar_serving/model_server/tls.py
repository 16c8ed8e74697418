"""TLS of the gRPC API: TensorFlow Serving's SSL config file."""

import ssl
import tempfile
from pathlib import Path

from rockstar_serving.model_server.models.config import ConfigError, parse_text_proto, read_config
from rockstar_serving.model_server.options import TlsOptions
from tfs_api.messages.ssl_config_pb2 import SSLConfig


def read_ssl_config(file: Path) -> TlsOptions:
    """Read the certificates of a file in the text format of SSLConfig; raises ConfigError."""
    where = f"SSL config file {file}"
    # The text is secret: the parser's message could quote the key.
    hint = r'expected such as server_cert: "-----BEGIN CERTIFICATE-----\n…"'
    message = parse_text_proto(read_config(file, where), SSLConfig, where, hint=hint, secret=True)
    labels = {"server_key": "PRIVATE KEY", "server_cert": "CERTIFICATE", "custom_ca": "CERTIFICATE"}
    for name, label in labels.items():
        value = getattr(message, name)
        if not value and name != "custom_ca":
            raise ConfigError(f"{where}: {name} is missing")
        if value and ("-----BEGIN" not in value or f"{label}-----" not in value):
            raise ConfigError(
                f"{where}: {name}: expected the text of a PEM file, with a line "
                rf"-----BEGIN {label}-----, and \n where lines end; not a path"
            )
    if message.client_verify and not message.custom_ca:
        raise ConfigError(f"{where}: client_verify needs custom_ca, whose clients are let in")
    _check_pair(message, where)
    return TlsOptions(
        message.server_key.encode(),
        message.server_cert.encode(),
        message.custom_ca.encode() if message.client_verify else None,
    )


def _check_pair(message: SSLConfig, where: str) -> None:
    """Check with OpenSSL, because gRPC accepts invalid files and then fails at every handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # readable only by its owner
        key, certificate = Path(folder, "key"), Path(folder, "certificate")
        key.write_text(message.server_key)
        certificate.write_text(message.server_cert)
        try:
            # Without the argument, OpenSSL would prompt for a password.
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError as error:
            raise ConfigError(
                f"{where}: server_key and server_cert are damaged, encrypted, or no pair "
                f"({error.reason or error})"
            ) from None
    if message.custom_ca:
        try:
            context.load_verify_locations(cadata=message.custom_ca)
        except ssl.SSLError as error:
            raise ConfigError(f"{where}: custom_ca is damaged ({error.reason or error})") from None
