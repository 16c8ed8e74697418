"""Versions of models as images in OCI registries, through the registries' HTTP API.

An image has one layer, a tar file with /models/VERSION/…, which is the layout of KServe's images of
models and of the base path of a model server. It has no architecture, so its index names the same
layer for each one. The same version always gives the same image, with the same digest.

Credentials are those of `docker login` and `podman login`. Registries on this machine are called
over HTTP, all others over HTTPS; REQUESTS_CA_BUNDLE names a private CA.

https://github.com/opencontainers/distribution-spec, https://github.com/opencontainers/image-spec
"""

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.utils import parse_dict_header

from rockstar_contract.manifest import MANIFEST_FILE, Manifest
from rockstar_serving.model_folder import ModelFolderError

SCHEME = "oci://"
_EXPECTED = "expected oci://REGISTRY/NAME or oci://REGISTRY/NAME:TAG, such as"
_EXAMPLE = "oci://registry.example.org/models/cnn:3"
_REGISTRY = re.compile(r"localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|[^/]+:[0-9]+|\[[0-9a-f:]+\]")
_NAME = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER = "application/vnd.docker.distribution.manifest"
_ACCEPTED = ", ".join((_INDEX, _MANIFEST, f"{_DOCKER}.v2+json", f"{_DOCKER}.list.v2+json"))
_TITLE = "org.opencontainers.image.title"
_REFRESHING_USER = "<token>"
_ARCHITECTURES = ("amd64", "arm64")
_FOLDER = "models"
_CHUNK_BYTES = 2**20
_MAX_DOCUMENT_BYTES = 4 * 2**20
_CONNECT_SECONDS, _READ_SECONDS = 10, 300  # registries check a layer before they respond


class ImageError(ModelFolderError):
    """An image cannot be pushed or pulled; the message says why, and what to do."""


@dataclass(frozen=True)
class Reference:
    """The name of an image: `oci://REGISTRY/NAME:TAG`, or with a digest in place of the tag."""

    registry: str
    name: str
    tag: str  # "": not given

    def __str__(self) -> str:
        separator = "@" if ":" in self.tag else ":"
        return f"{SCHEME}{self.registry}/{self.name}{separator if self.tag else ''}{self.tag}"


def parse_reference(url: str) -> Reference:
    """Parse the name of an image; raises ImageError."""
    registry, _, path = url.removeprefix(SCHEME).partition("/")
    name, separator, tag = path.partition("@") if "@" in path else path.partition(":")
    if not _REGISTRY.fullmatch(registry):
        raise ImageError(f"{url}: {_EXPECTED} {_EXAMPLE}; {registry!r} is no address of a registry")
    if not _NAME.fullmatch(name):
        raise ImageError(f"{url}: {_EXPECTED} {_EXAMPLE}; names have only a-z, 0-9, ., _, - and /")
    if separator and not (_DIGEST if separator == "@" else _TAG).fullmatch(tag):
        raise ImageError(f"{url}: {_EXPECTED} {_EXAMPLE}; {tag!r} cannot be a tag or digest")
    return Reference(registry, name, tag)


def push(
    to: Reference, folder: Path, manifest: Manifest, model: str, number: int, label: str | None
) -> bool:
    """Push a version as an image; its tag appears when all of it is there.

    Args:
        to: the image; without a tag, the number of the version is the tag.
        folder: of the version.
        manifest: of the version, which its files match.
        model: its name, which pull() restores: names of images have only small letters.
        number: of the version.
        label: a tag to move to the image.

    Returns:
        Whether the tag is new.

    Raises:
        ImageError: the registry refuses, or the tag is that of another image.
        OSError: a file cannot be read.
    """
    if ":" in to.tag:
        raise ImageError(f"{to}: a digest follows from the content: give a tag")
    if label is not None and (label.isdigit() or not _TAG.fullmatch(label)):
        raise ImageError(
            f"label: expected a tag that is no number, such as stable, got {label!r}: numbers are "
            "the tags of versions"
        )
    tag = to.tag or str(number)
    if tag.isdigit() and int(tag) != number:
        raise ImageError(f"{to}: the tag is the number of another version: expected {number}")
    registry = _Registry(to, "pull,push")
    layer = _Layer(folder, [*manifest.files, MANIFEST_FILE], number)
    documents, index = _image(layer, model, number)
    there = registry.digest(tag)
    if there not in (None, _digest(index)) and tag != label:
        raise ImageError(
            f"{replace(to, tag=tag)} exists and has another content: publish yours under another "
            f"number{'' if tag.isdigit() else f', or move the tag with --label {tag}'}"
        )
    registry.upload(layer.digest, layer)
    for media_type, document in documents:
        if media_type == _CONFIG:
            registry.upload(_digest(document), document)
        else:
            registry.put_manifest(_digest(document), media_type, document)
    for name in dict.fromkeys(filter(None, (tag, label))):
        registry.put_manifest(name, _INDEX, index)
    return there is None


def find(image: Reference) -> tuple[Reference, str, list[str]]:
    """Find an image; without a tag, the one whose tag is the highest number, or `latest`.

    Returns:
        It with its tag, the name of the model, and the digests of the layers.

    Raises:
        ImageError: the registry refuses, or there is no such image.
    """
    registry = _Registry(image)
    if not image.tag:
        numbers = [int(tag) for tag in registry.tags() if tag.isdigit()]
        image = replace(image, tag=str(max(numbers)) if numbers else "latest")
    document = registry.manifest(image.tag)
    try:
        title = (document.get("annotations") or {}).get(_TITLE, "")
        if choices := document.get("manifests"):
            native = [each for each in choices if each.get("platform", {}).get("os") == "linux"]
            document = registry.manifest((native or choices)[0]["digest"])
        digests = [layer["digest"] for layer in document["layers"]]
    except (LookupError, TypeError, AttributeError) as error:
        raise ImageError(f"{image}: expected the manifest of an image, got another one") from error
    # The title of an image that other builders made can be anything.
    model = title if _MODEL.fullmatch(title) else image.name.rpartition("/")[2]
    return image, model, digests


def unpack(image: Reference, digests: Sequence[str], folder: Path) -> None:
    """Write the files below /models of an image's layers into a folder, which must be empty.

    Raises:
        ImageError: the registry refuses, or a layer is damaged.
        OSError: a file cannot be written.
    """
    registry = _Registry(image)
    for digest in digests:
        registry.unpack(digest, folder)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


class _Layer:
    """The tar file of a version, made while it is read; the same for the same files."""

    def __init__(self, folder: Path, names: list[str], number: int) -> None:
        self._folder, self._number = folder, number
        within = PurePosixPath(_FOLDER, str(number))
        folders = {parent for name in names for parent in (within / name).parents} - {
            PurePosixPath(".")
        }
        self._entries = [
            (path, (folder / path.relative_to(within)) if path not in folders else None)
            for path in sorted({*folders, *(within / name for name in names)})
        ]
        digest = hashlib.sha256()
        self._size = 0
        for chunk in self:
            digest.update(chunk)
            self._size += len(chunk)
        self.digest = f"sha256:{digest.hexdigest()}"

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        for path, file in self._entries:
            entry = tarfile.TarInfo(str(path))
            if file is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                yield entry.tobuf(tarfile.PAX_FORMAT)
                continue
            entry.size = file.stat().st_size
            yield entry.tobuf(tarfile.PAX_FORMAT)
            with file.open("rb") as content:
                while chunk := content.read(_CHUNK_BYTES):
                    yield chunk
            yield bytes(-entry.size % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)


def _image(layer: _Layer, model: str, number: int) -> tuple[list[tuple[str, bytes]], bytes]:
    """The configurations and manifests of an image by media type, and its index."""
    documents, manifests = [], []
    annotations = {_TITLE: model, "org.opencontainers.image.version": str(number)}
    for architecture in _ARCHITECTURES:
        platform = {"architecture": architecture, "os": "linux"}
        config = _encode(
            {**platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer.digest]}}
        )
        manifest = _encode(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "annotations": annotations,
                "config": {"mediaType": _CONFIG, "digest": _digest(config), "size": len(config)},
                "layers": [{"mediaType": _LAYER, "digest": layer.digest, "size": len(layer)}],
            }
        )
        documents += [(_CONFIG, config), (_MANIFEST, manifest)]
        described = {"mediaType": _MANIFEST, "digest": _digest(manifest), "size": len(manifest)}
        manifests.append({**described, "platform": platform})
    index = {"schemaVersion": 2, "mediaType": _INDEX, "annotations": annotations}
    return documents, _encode({**index, "manifests": manifests})


class _Registry:
    """One repository of a registry."""

    def __init__(self, image: Reference, actions: str = "pull") -> None:
        self._image = replace(image, tag="")
        self._scope = f"repository:{image.name}:{actions}"
        local = _is_local(urlsplit(f"//{image.registry}").hostname or "")
        address = "registry-1.docker.io" if image.registry == "docker.io" else image.registry
        self._url = f"{'http' if local else 'https'}://{address}/v2/{image.name}/"
        self._session = requests.Session()
        # Not through a proxy.
        self._session.trust_env = not local
        self._authorization = ""

    def digest(self, tag: str) -> str | None:
        """The digest of the image that a tag points to; None if there is none."""
        response = self._call("GET", f"manifests/{tag}", expected=(200, 404))
        return _digest(response.content) if response.status_code == 200 else None

    def manifest(self, tag: str) -> dict[str, Any]:
        """A manifest or an index by its tag or digest."""
        response = self._call("GET", f"manifests/{tag}", expected=(200, 404))
        if response.status_code == 404:
            tags = f"; its tags are {', '.join(self.tags()[-20:])}" if self.tags() else ""
            raise ImageError(f"{replace(self._image, tag=tag)} does not exist{tags}")
        if ":" in tag and _digest(response.content) != tag:
            raise ImageError(f"{replace(self._image, tag=tag)} is damaged: it has another digest")
        with contextlib.suppress(ValueError):
            document = json.loads(response.content)
            if isinstance(document, dict):
                return document
        raise ImageError(f"{replace(self._image, tag=tag)}: its manifest is no JSON object")

    def tags(self) -> list[str]:
        """The tags of all images, sorted; none if there is no such repository."""
        response = self._call("GET", "tags/list", expected=(200, 404))
        if response.status_code == 404:
            return []
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            return sorted(map(str, response.json().get("tags") or ()))
        raise ImageError(f"{self._image}: its list of tags is not that of a registry")

    def put_manifest(self, tag: str, media_type: str, document: bytes) -> None:
        headers = {"Content-Type": media_type}
        self._call("PUT", f"manifests/{tag}", expected=(201,), headers=headers, data=document)

    def upload(self, digest: str, content: bytes | _Layer) -> None:
        """Upload a blob that is not there; the registry compares its digest."""
        if self._has(digest):
            return
        begun = self._call("POST", "blobs/uploads/", expected=(202,))
        place = urljoin(begun.url, begun.headers.get("Location", ""))
        place += f"{'&' if urlsplit(place).query else '?'}digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        try:
            self._call("PUT", place, expected=(201,), headers=headers, data=content)
        except ImageError:
            # A registry can refuse what another client uploads at the same time.
            if not self._has(digest):
                raise

    def _has(self, digest: str) -> bool:
        return self._call("HEAD", f"blobs/{digest}", expected=(200, 404)).status_code == 200

    def unpack(self, digest: str, folder: Path) -> None:
        """Write the files below /models of a layer into a folder."""
        response = self._call("GET", f"blobs/{digest}", stream=True)
        content = _Hashed(response.raw.read)
        with response, self._explained():
            try:
                with tarfile.open(fileobj=content, mode="r|*") as archive:
                    for entry in archive:
                        path = PurePosixPath(os.path.normpath(f"/{entry.name}"))
                        file = archive.extractfile(entry) if entry.isfile() else None
                        if file is not None and path.parts[1:2] == (_FOLDER,):
                            _write(file, folder.joinpath(*path.parts[2:]))
            except tarfile.TarError as error:
                raise ImageError(
                    f"{self._image}: layer {digest} cannot be read: {error}"
                ) from error
            while content.read(_CHUNK_BYTES):
                pass
        if content.digest != digest:
            raise ImageError(f"{self._image}: layer {digest} is damaged: it has another digest")

    def _call(
        self, method: str, path: str, *, expected: tuple[int, ...] = (200,), **options: Any
    ) -> requests.Response:
        """Call the registry, and log in if it asks for that."""
        headers = {"Accept": _ACCEPTED, **options.pop("headers", {})}
        for attempt in range(2):
            with self._explained():
                response = self._session.request(
                    method,
                    urljoin(self._url, path),
                    headers=headers,
                    auth=self._authorize,
                    timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                    **options,
                )
            if response.status_code != 401 or attempt:
                break
            self._log_in(response.headers.get("WWW-Authenticate", ""))
        if response.status_code in expected:
            return response
        raise ImageError(self._refusal(response))

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Some registries let clients upload to another host.
        if self._authorization and (request.url or "").startswith(urljoin(self._url, "/")):
            request.headers["Authorization"] = self._authorization
        return request

    def _log_in(self, challenge: str) -> None:
        """Make the header that a challenge asks for: credentials, or a token for them."""
        scheme, _, rest = challenge.partition(" ")
        user, password = _credentials(self._image.registry) or ("", "")
        basic = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}" if user else ""
        if scheme.lower() != "bearer":
            self._authorization = basic
            return
        asked = parse_dict_header(rest)  # type: ignore[no-untyped-call]
        # Challenges to a read ask for pull only, and not all registries challenge a write then.
        query = {"service": asked.get("service") or "", "scope": self._scope}

        def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
            if basic:
                request.headers["Authorization"] = basic
            return request

        call: dict[str, Any] = {"method": "GET", "params": query, "auth": authorize}
        if user == _REFRESHING_USER:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": password,
                "client_id": "rockstar",
            }
            call = {"method": "POST", "data": {**query, **form}}
        timeout = (_CONNECT_SECONDS, _CONNECT_SECONDS)
        with self._explained():
            response = self._session.request(url=asked.get("realm") or "", timeout=timeout, **call)
        if response.status_code != 200:
            raise ImageError(self._refusal(response))
        with contextlib.suppress(ValueError, AttributeError):
            found = json.loads(response.content)
            if token := found.get("token") or found.get("access_token"):
                self._authorization = f"Bearer {token}"
                return
        raise ImageError(f"{self._image}: {asked.get('realm')} returned no token")

    def _refusal(self, response: requests.Response) -> str:
        """Explain the error of a registry in one sentence."""
        status = f"{response.status_code} {response.reason}"
        with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):
            error = json.loads(response.content[:_MAX_DOCUMENT_BYTES])["errors"][0]
            status = f"{status}: {error.get('code')} {error.get('message')}"
        if response.status_code == 401:
            return f"{self._image}: {status}: log in with docker login {self._image.registry}"
        if response.status_code == 403:
            return f"{self._image}: {status}: your account may not do this there"
        if response.status_code == 404:
            return f"{self._image}: {status}: is this a registry, and does the repository exist?"
        return f"{self._image}: the registry responded {status}"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except requests.exceptions.SSLError as error:
            raise ImageError(
                f"{self._image}: no TLS connection ({_reason(error)}): name the CA of a private "
                "registry in REQUESTS_CA_BUNDLE; only registries on this machine do without TLS"
            ) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ImageError(f"{self._image}: no connection ({_reason(error)})") from error


def _is_local(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


class _Hashed(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self._hash = read, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            file.write(chunk)


def _credentials(registry: str) -> tuple[str, str] | None:
    """User and password, as `docker login` and `podman login` store them, or None.

    The user `<token>` has a refresh token in place of a password, as for Azure's registry.
    """
    key = "https://index.docker.io/v1/" if registry == "docker.io" else registry
    environ = os.environ
    home = Path.home()
    docker = Path(environ.get("DOCKER_CONFIG", home / ".docker"))
    runtime = Path(environ.get("XDG_RUNTIME_DIR", home / ".config"))
    files = [docker / "config.json", runtime / "containers" / "auth.json"]
    if "REGISTRY_AUTH_FILE" in environ:
        files.insert(0, Path(environ["REGISTRY_AUTH_FILE"]))
    for file in files:
        try:
            config = json.loads(file.read_bytes())
            helper = config.get("credHelpers", {}).get(registry) or config.get("credsStore")
            stored = config.get("auths", {}).get(key, {})
            if token := stored.get("identitytoken"):
                return _REFRESHING_USER, str(token)
            if auth := stored.get("auth"):
                user, _, password = base64.b64decode(auth).decode().partition(":")
                return user, password
            if helper:
                done = subprocess.run(
                    [f"docker-credential-{helper}", "get"],
                    input=key.encode(),
                    capture_output=True,
                    timeout=60,
                    check=True,
                )
                found = json.loads(done.stdout)
                return str(found["Username"]), str(found["Secret"])
        except FileNotFoundError:
            continue  # neither this file nor its helper
        except (OSError, ValueError, LookupError, AttributeError) as error:
            raise ImageError(f"{file}: cannot be read: {error}") from error
        except subprocess.SubprocessError:
            continue  # no credentials for this registry
    return None


def _reason(error: BaseException) -> str:
    """The innermost reason of a connection error."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) and (
        isinstance(inner, BaseException)
    ):
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]
