"""An object store as a base path: which versions it holds, and their objects.

S3 and what speaks its protocol, Google Cloud Storage and Azure, through obstore. Credentials come
from where each vendor's tools look for them. What TensorFlow's file systems read from the
environment counts too: S3_ENDPOINT, S3_USE_HTTPS, S3_VERIFY_SSL and STORAGE_EMULATOR_HOST.
"""

import contextlib
import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
_CHUNK_BYTES = 8 * 2**20
# Folders of a SavedModel. Consoles and some tools mark an empty folder with an object of its name.
_FOLDERS = ("assets", "assets.extra", "variables")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true where the "
    "bucket is public",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true where the bucket is "
    "public",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class StorageError(Exception):
    """An object store that cannot be read; the message says why, and what to set."""


@dataclass(frozen=True, order=True)
class StoredObject:
    """One object of a version.

    Attributes:
        name: its path within the version, with "/" between its parts; never upwards.
        size: in bytes.
        tag: changes with the content.
        key: its path within the base path.
        modified: when it was written, on the store's clock.
    """

    name: str
    size: int
    tag: str
    key: str
    modified: datetime


def check_url(url: str) -> None:
    """Check that a base path can be served from an object store, without asking the store.

    Raises:
        StorageError: no such store, or its library is missing.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise StorageError(
            f"expected a folder or a URL that begins with {', '.join(f'{s}://' for s in SCHEMES)} "
            f"or file://, got {parts.scheme}://"
        )
    if not parts.netloc:
        raise StorageError(f"expected a bucket, such as {parts.scheme}://bucket/models/cnn")
    if parts.password is not None:
        raise StorageError("credentials do not belong in it: pass them in the environment")
    if importlib.util.find_spec("obstore") is None:
        raise StorageError(
            f"{parts.scheme}:// needs a library: pip install 'rockstartf[storage]', or copy the "
            "model into a local folder"
        )


class ObjectStore:
    """The store below one URL; for one thread, except download()."""

    def __init__(self, url: str) -> None:
        """Make one that has not connected yet."""
        self._url = url
        self._vendor = {"s3a": "s3", "gs": "gs", "s3": "s3"}.get(urlsplit(url).scheme, "az")
        self._opened: Any = None

    def folders(self) -> list[str]:
        """The names directly below the URL that have something below them.

        Raises:
            StorageError: they cannot be listed.
        """
        import obstore

        with self._explained():
            return list(obstore.list_with_delimiter(self._store())["common_prefixes"])

    def objects(self, folder: str) -> tuple[StoredObject, ...]:
        """All objects below a folder, by name.

        Raises:
            StorageError: they cannot be listed, or one has a name that no file can have.
        """
        import obstore

        with self._explained():
            found = obstore.list(self._store(), prefix=folder).collect()
        names = {entry["path"] for entry in found}
        parents = {parent.as_posix() for name in names for parent in Path(name).parents}
        return tuple(
            sorted(
                StoredObject(
                    name=entry["path"].removeprefix(f"{folder}/"),
                    size=entry["size"],
                    tag=entry["e_tag"] or entry["last_modified"].isoformat(),
                    key=entry["path"],
                    modified=entry["last_modified"],
                )
                for entry in found
                if entry["path"] != folder
                and not (entry["size"] == 0 and _marks_folder(entry["path"], parents))
            )
        )

    def read(self, stored: StoredObject) -> bytes:
        """The content of a small object.

        Raises:
            StorageError: it cannot be read.
        """
        return b"".join(self.chunks(stored))

    def chunks(self, stored: StoredObject) -> Iterator[bytes]:
        """The content of an object, in order; any thread may ask.

        Raises:
            StorageError: it cannot be read, or is another one than was listed.
        """
        import obstore

        with self._explained():
            options = {"if_match": stored.tag} if stored.tag.startswith('"') else {}
            result = obstore.get(self._store(), stored.key, options=options)
            for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
                yield bytes(chunk)

    def _store(self) -> Any:
        if self._opened is None:
            from obstore.store import from_url

            client, config, provider = _settings(self._vendor, os.environ)
            extra = {"credential_provider": provider} if provider else {}
            self._opened = from_url(
                self._url,
                config=config,
                client_options={
                    # Of a whole download; what stalls is noticed by the others.
                    "timeout": timedelta(days=1),
                    "connect_timeout": timedelta(seconds=10),
                    "read_timeout": timedelta(seconds=30),
                    "allow_http": True,
                    **client,
                },
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=30)},
                **extra,
            )
        return self._opened

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except BaseError as error:
            raise StorageError(self._explain(error)) from error

    def _explain(self, error: Exception) -> str:
        """What went wrong and what to set: one line, without secrets, and the same each time."""
        kind = type(error).__name__
        # Queries can hold signatures. What follows the text is for the library's developers.
        text = str(error).split("\n\nDebug source")[0]
        text = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", text)
        code = _first(r"<Code>([^<]*)</Code>", text)
        message = _first(r"<Message>(?:<!\[CDATA\[)?([^<\]]*)", text)
        address, said = _first(r"Error performing \w+ (\S+) in ", text), _first(r" - (.*)", text)
        if code or message:
            # Azure adds the id and time of the request in further lines.
            said = ": ".join(filter(None, (code, message.split("\n")[0])))
        if said.startswith("HTTP error: error sending request"):
            # What the network said is only in the part for developers.
            said = _first(r'(?:message|error): "([^"]+)"', str(error)) or "no connection"
        said = said or text.rpartition("Encountered object with invalid path: ")[2]
        said = " ".join(said.split())[:300]
        credentials = _CREDENTIALS[self._vendor]
        if re.search(r"169\.254\.|metadata|/latest/", address):  # of a machine in a cloud
            return f"there are no credentials: set {credentials}"
        if code in ("NoSuchBucket", "ContainerNotFound"):
            return f"there is no such bucket ({said})"
        if code in ("AuthorizationHeaderMalformed", "PermanentRedirect"):
            return f"the bucket is in another region ({said}): set AWS_REGION"
        if kind in ("PermissionDeniedError", "UnauthenticatedError") or re.search(
            r"status code: 40[13]", text
        ):
            return f"access is denied ({said}): set {credentials}"
        if kind == "InvalidPathError":
            return f"an object has a name that no file can have ({said})"
        if kind == "PreconditionError":
            return "an object changed while it was copied"
        return f"{address} cannot be read ({said})" if address else said


def _settings(
    vendor: str, environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """What obstore does not find itself: options of its client and store, and of credentials."""
    client: dict[str, Any] = {}
    config: dict[str, Any] = {}
    if vendor == "gs" and (emulator := environ.get("STORAGE_EMULATOR_HOST")):
        config = {
            "base_url": emulator if "://" in emulator else f"http://{emulator}",
            "skip_signature": True,
        }
    if vendor != "s3":
        return client, config, None
    if (endpoint := environ.get("S3_ENDPOINT")) and not environ.keys() & {
        "AWS_ENDPOINT",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    }:
        scheme = "http" if environ.get("S3_USE_HTTPS") == "0" else "https"
        config["endpoint"] = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
    if environ.get("S3_VERIFY_SSL") == "0":
        client["allow_invalid_certificates"] = True
    if bundle := environ.get("AWS_CA_BUNDLE"):
        client["root_certificate"] = Path(bundle).read_bytes()
    return client, config, _profile(environ)


def _profile(environ: Mapping[str, str]) -> Any:
    """What reads the profiles of AWS's tools, where they are used: boto3."""
    file = environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    used = "AWS_PROFILE" in environ or Path(file).expanduser().exists()
    if not used or environ.keys() & {"AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE"}:
        return None
    if importlib.util.find_spec("boto3") is None:
        if "AWS_PROFILE" in environ:
            raise StorageError(
                "AWS_PROFILE is set, but profiles need a library: pip install boto3, or set "
                f"{_CREDENTIALS['s3']}"
            )
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider()


def _marks_folder(path: str, parents: set[str]) -> bool:
    return path in parents or Path(path).name in _FOLDERS


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.DOTALL)
    return found[1].strip() if found else ""
