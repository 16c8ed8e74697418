"""Object stores as base paths: which versions a store holds, their objects, and writing these.

S3 and compatible stores, Google Cloud Storage and Azure, through obstore. Credentials come from the
places that each vendor's tools use. The environment variables of TensorFlow's file systems work
too: S3_ENDPOINT, S3_USE_HTTPS, S3_VERIFY_SSL and STORAGE_EMULATOR_HOST.
"""

import contextlib
import importlib.util
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_VENDORS = {"s3": "s3", "s3a": "s3", "gs": "gs"} | dict.fromkeys(
    ("az", "azure", "abfs", "abfss"), "az"
)
SCHEMES = tuple(_VENDORS)
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
    """An object store cannot be used; the message says why, and which setting to change."""


class ChangedError(StorageError):
    """An object is not what the caller expected to replace: somebody else has written it."""


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
    """Check a base path without connecting to its store; raises StorageError."""
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
    """The objects below one URL; for one thread, except stream()."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._vendor = _VENDORS[urlsplit(url).scheme]
        self._opened: Any = None

    def folders(self, prefix: str = "") -> list[str]:
        """The names directly below the URL, or below a folder there, that have objects below them.

        Raises StorageError.
        """
        import obstore

        with self._explained():
            found = obstore.list_with_delimiter(self._store(), prefix=prefix or None)
            return [path.rpartition("/")[2] for path in found["common_prefixes"]]

    def objects(self, folder: str) -> tuple[StoredObject, ...]:
        """All objects below a folder, by name; raises StorageError."""
        import obstore

        with self._explained():
            found = obstore.list(self._store(), prefix=folder).collect()
        parents = {parent.as_posix() for entry in found for parent in Path(entry["path"]).parents}
        objects = []
        for entry in found:
            path, size, modified = entry["path"], entry["size"], entry["last_modified"]
            marks_folder = size == 0 and (path in parents or Path(path).name in _FOLDERS)
            if path != folder and not marks_folder:
                name, tag = path.removeprefix(f"{folder}/"), entry["e_tag"] or modified.isoformat()
                objects.append(StoredObject(name, size, tag, path, modified))
        return tuple(sorted(objects))

    def stream(self, key: str, tag: str = "") -> Iterator[bytes]:
        """The content of an object, of this tag if given; thread-safe. Raises StorageError."""
        import obstore

        with self._explained():
            options = {"if_match": tag} if tag.startswith('"') else {}
            result = obstore.get(self._store(), key, options=options)
            for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
                yield bytes(chunk)

    def read(self, key: str) -> tuple[bytes, dict[str, str]] | None:
        """The content of a small object, and what write() takes to replace only this one.

        None if there is none. Raises StorageError.
        """
        import obstore

        with self._explained():
            try:
                result = obstore.get(self._store(), key)
                # Google's store needs the version, others the tag.
                versions = {"e_tag": result.meta["e_tag"], "version": result.meta["version"]}
                replaces = {name: value for name, value in versions.items() if value}
                return bytes(result.bytes()), replaces
            except FileNotFoundError:
                return None

    def write(
        self, key: str, content: bytes | Path, *, replaces: dict[str, str] | None = None
    ) -> None:
        """Write an object, in one step for readers.

        Args:
            key: its path within the base path.
            content: bytes, or the file to copy.
            replaces: the object that it may replace, from read(); {}: none; None: any.

        Raises:
            ChangedError: there is another object than the one that it may replace.
            StorageError: it cannot be written.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode = "overwrite" if replaces is None else replaces or "create"
        done: Future[None] = Future()

        def put() -> None:
            try:
                obstore.put(self._store(), key, content, mode=mode)
                done.set_result(None)
            except BaseException as error:  # of any kind, even a panic: the caller waits
                done.set_exception(error)

        # In a thread, because Ctrl-C waits for the end of put().
        threading.Thread(target=put, daemon=True).start()
        with self._explained("written"):
            try:
                done.result()
            except (AlreadyExistsError, PreconditionError) as error:
                raise ChangedError(f"{key} was written by somebody else meanwhile") from error

    def _store(self) -> Any:
        if self._opened is None:
            from obstore.store import from_url

            client: dict[str, Any] = {
                # Limits a whole download; the other timeouts detect one that stalls.
                "timeout": timedelta(days=1),
                "connect_timeout": timedelta(seconds=10),
                "read_timeout": timedelta(seconds=30),
                "allow_http": True,
            }
            options: dict[str, Any] = {"client_options": client}
            if self._vendor == "gs" and (emulator := os.environ.get("STORAGE_EMULATOR_HOST")):
                url = emulator if "://" in emulator else f"http://{emulator}"
                # Writing ignores skip_signature.
                key = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
                account = json.dumps({**key, "gcs_base_url": url, "disable_oauth": True})
                options["config"] = {"service_account_key": account}
            if self._vendor == "s3":
                _add_s3_settings(options, client, os.environ)
            retry = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}
            self._opened = from_url(self._url, retry_config=retry, **options)
        return self._opened

    @contextlib.contextmanager
    def _explained(self, done: str = "read") -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise StorageError(self._explain(error, done)) from error

    def _explain(self, error: Exception, done: str) -> str:
        """Explain an error and what to set: one line, without secrets, the same each time."""
        kind = type(error).__name__
        # Queries can hold signatures. The text after the message is for the library's developers.
        text = str(error).split("\n\nDebug source")[0]
        text = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", text)
        code = _first(r"<Code>([^<]*)</Code>", text)
        message = _first(r"<Message>(?:<!\[CDATA\[)?([^<\]]*)", text)
        address, reason = _first(r"Error performing \w+ (\S+) in ", text), _first(r" - (.*)", text)
        if code or message:
            # Azure adds the id and time of the request in further lines.
            reason = ": ".join(filter(None, (code, message.split("\n")[0])))
        if reason.startswith("HTTP error: error sending request"):
            # The network error is only in the part for developers.
            reason = _first(r'(?:message|error): "([^"]+)"', str(error)) or "no connection"
        reason = reason or text.rpartition("Encountered object with invalid path: ")[2]
        reason = " ".join(reason.split())[:300]
        credentials = _CREDENTIALS[self._vendor]
        if re.search(r"169\.254\.|metadata|/latest/", address):  # of a machine in a cloud
            return f"there are no credentials: set {credentials}"
        if code in ("NoSuchBucket", "ContainerNotFound"):
            return f"there is no such bucket ({reason})"
        if code in ("AuthorizationHeaderMalformed", "PermanentRedirect"):
            return f"the bucket is in another region ({reason}): set AWS_REGION"
        if kind in ("PermissionDeniedError", "UnauthenticatedError") or re.search(
            r"status code: 40[13]", text
        ):
            return f"access is denied ({reason}): set {credentials}"
        if kind == "InvalidPathError":
            return f"an object has a name that no file can have ({reason})"
        if kind == "PreconditionError":
            return "an object changed while it was copied"
        return f"{address} cannot be {done} ({reason})" if address else reason


def _add_s3_settings(
    options: dict[str, Any], client: dict[str, Any], environ: Mapping[str, str]
) -> None:
    """Add what obstore does not read itself: TensorFlow's variables, and profiles (boto3)."""
    endpoints = {"AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"}
    if (endpoint := environ.get("S3_ENDPOINT")) and not environ.keys() & endpoints:
        scheme = "http" if environ.get("S3_USE_HTTPS") == "0" else "https"
        url = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
        options["config"] = {"endpoint": url}
    if environ.get("S3_VERIFY_SSL") == "0":
        client["allow_invalid_certificates"] = True
    if bundle := environ.get("AWS_CA_BUNDLE"):
        client["root_certificate"] = Path(bundle).read_bytes()
    file = environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    used = "AWS_PROFILE" in environ or Path(file).expanduser().exists()
    if not used or environ.keys() & {"AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE"}:
        return
    if importlib.util.find_spec("boto3") is not None:
        from obstore.auth.boto3 import Boto3CredentialProvider

        options["credential_provider"] = Boto3CredentialProvider()
    elif "AWS_PROFILE" in environ:
        raise StorageError(
            "AWS_PROFILE is set, but profiles need a library: pip install boto3, or set "
            f"{_CREDENTIALS['s3']}"
        )


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.DOTALL)
    return found[1].strip() if found else ""
