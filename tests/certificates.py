"""Certificates made in a test session, and SSL config files with them."""

import functools
from pathlib import Path

import trustme

AUTHORITY = functools.cache(trustme.CA)


@functools.cache
def issued(host: str) -> trustme.LeafCert:
    """A certificate for a host, by the authority of this session."""
    return AUTHORITY().issue_cert(host)


def key_of(certificate: trustme.LeafCert) -> str:
    return certificate.private_key_pem.bytes().decode()


def chain_of(certificate: trustme.LeafCert) -> str:
    return "".join(pem.bytes().decode() for pem in certificate.cert_chain_pems)


def write_ssl_config(path: Path, **fields: str | bool) -> Path:
    """An SSL config file in text protobuf."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, bool):
            lines.append(f"{name}: {str(value).lower()}")
        else:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines.append(f'{name}: "{escaped}"')
    path.write_text("\n".join(lines) + "\n")
    return path
