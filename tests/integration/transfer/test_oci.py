"""Images of models: what registries, container engines and other builders make of them."""

import base64
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile

import pytest

from rockstar_serving import oci
from rockstar_serving.model_folder import ModelFolderError
from rockstar_serving.transfer import pull, push
from tests.http_servers import Handler, handled_by
from tests.oci_registry import oci_registry

# "secret", hashed with bcrypt.
USERS = "alice:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"


def test_the_same_version_is_the_same_image(models, image, tmp_path):
    push(models, "cnn", 1, image, label="stable")
    shutil.copytree(models, tmp_path / "copy")
    push(tmp_path / "copy", "cnn", 1, image.replace("/cnn", "/copy/cnn"))
    digests = {
        oci._Registry(oci.parse_reference(each)).digest(tag)
        for each, tag in (
            (image, "1"),
            (image, "stable"),
            (image.replace("/cnn", "/copy/cnn"), "1"),
        )
    }
    assert len(digests) == 1
    (digest,) = digests
    assert pull(f"{image}@{digest}", tmp_path / "got").version == 1


def test_the_newest_version_is_pulled_by_default(models, image, tmp_path):
    for version in (1, 2):
        push(models, "cnn", version, image)
    (models / "cnn").rename(models / "CNN_x")
    push(models, "CNN_x", 1, image.replace("/cnn", "/other"))
    assert pull(image, tmp_path / "got").version == 2
    # Names of images have only small letters.
    assert pull(image.replace("/cnn", "/other"), tmp_path / "got").model == "CNN_x"


def test_a_label_is_no_number(models, image):
    with pytest.raises(ModelFolderError, match="expected a tag that is no number"):
        push(models, "cnn", 1, image, label="2")


def test_an_unknown_tag_names_the_others(models, image, tmp_path):
    push(models, "cnn", 1, image)
    with pytest.raises(ModelFolderError, match=r"cnn:2 does not exist; its tags are 1$"):
        pull(f"{image}:2", tmp_path / "got")
    assert not (tmp_path / "got").exists()


@pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_container_engine_mounts_it(models, image):
    """As an image volume has it, and KServe."""
    push(models, "cnn", 2, image)
    name = f"{image.removeprefix('oci://')}:2"
    # podman allows only short paths.
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--root={folder}/root", f"--runroot={folder}/run", "--storage-driver=vfs"]

        def podman(*arguments: str) -> str:
            command = ["podman", *options, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        podman("pull", "--quiet", "--tls-verify=false", name)
        mounted = podman("image", "mount", name)
        try:
            assert sorted(os.listdir(mounted)) == ["models"]
            served = f"{mounted}/models/2"
            assert sorted(os.listdir(served)) == ["assets.extra", "manifest.json", "model.tflite"]
            # Readable by the user of any container.
            assert os.stat(f"{served}/model.tflite").st_mode & 0o777 == 0o644
            assert os.stat(served).st_mode & 0o777 == 0o755
        finally:
            podman("image", "unmount", name)


def test_images_of_other_builders(models, registry_address, tmp_path):
    """Several layers, compressed, among other files, and an architecture, as of `docker build`."""
    reference = oci.parse_reference(f"oci://{registry_address}/built/cnn:latest")
    registry = oci._Registry(reference)

    def layer(**files: bytes) -> dict:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        blob = gzip.compress(buffer.getvalue())
        registry.upload(oci._digest(blob), blob)
        return {"mediaType": f"{oci._LAYER}+gzip", "digest": oci._digest(blob), "size": len(blob)}

    version = models / "cnn" / "2"
    named = {
        f"./models/2/{path.relative_to(version)}": path.read_bytes()
        for path in version.rglob("*")
        if path.is_file()
    }
    layers = [layer(**{"bin/sh": b"#!"}), layer(**named, **{"models/../../outside": b"x"})]
    registry.upload(oci._digest(b"{}"), b"{}")
    config = {"mediaType": oci._CONFIG, "digest": oci._digest(b"{}"), "size": 2}
    document = {"schemaVersion": 2, "mediaType": oci._MANIFEST, "config": config, "layers": layers}
    registry.put_manifest("latest", oci._MANIFEST, json.dumps(document).encode())
    assert pull(f"oci://{registry_address}/built/cnn", tmp_path / "got").version == 2
    assert sorted(os.listdir(tmp_path)) == ["got", "models"]


def test_a_password(models, tmp_path, monkeypatch):
    (tmp_path / "users").write_text(USERS)
    settings = {"auth": {"htpasswd": {"realm": "test", "path": str(tmp_path / "users")}}}
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with oci_registry(tmp_path / "registry", **settings) as address:
        with pytest.raises(ModelFolderError, match=f"log in with docker login {address}"):
            push(models, "cnn", 1, f"oci://{address}/cnn")
        auth = base64.b64encode(b"alice:secret").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
        assert push(models, "cnn", 1, f"oci://{address}/cnn").new
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(ModelFolderError, match=r"config\.json: cannot be read"):
            pull(f"oci://{address}/cnn:1", tmp_path / "got")


@pytest.mark.parametrize("user", ["alice", "<token>"])
def test_a_token(tmp_path, monkeypatch, user):
    """As Docker Hub, GHCR and most clouds have it; Azure with a refresh token."""
    helper = tmp_path / "docker-credential-test"
    found = json.dumps({"Username": user, "Secret": "secret"})
    helper.write_text(f"#!/bin/sh\necho '{found}'")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"credsStore": "test"}')
    seen = []

    class Registry(Handler):
        def do_GET(self):  # noqa: N802
            seen.append((self.path, self.headers.get("Authorization")))
            host = self.headers["Host"]
            if self.path.startswith("/token"):
                self.respond(200, b'{"token": "t"}')
            elif self.headers.get("Authorization") == "Bearer t":
                self.respond(200, b'{"layers": []}')
            else:
                realm = f'Bearer realm="http://{host}/token",service="s",scope="x"'
                self.respond(401, headers={"WWW-Authenticate": realm})

        def do_POST(self):  # noqa: N802
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            seen.append((f"{self.path}?{form}", self.headers.get("Authorization")))
            self.respond(200, b'{"access_token": "t"}')

    with handled_by(Registry) as url:
        reference = oci.parse_reference(url.replace("http", "oci") + "/cnn:1")
        assert oci.find(reference) == (reference, "cnn", [])
    query = "/token?service=s&scope=repository%3Acnn%3Apull"
    asked = {
        "alice": (query, f"Basic {base64.b64encode(b'alice:secret').decode()}"),
        "<token>": (
            f"{query}&grant_type=refresh_token&refresh_token=secret&client_id=rockstar",
            None,
        ),
    }
    manifest = "/v2/cnn/manifests/1"
    assert seen == [(manifest, None), asked[user], (manifest, "Bearer t")]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b"", "401 Unauthorized: log in with docker login"),
        (
            403,
            b'{"errors": [{"code": "DENIED", "message": "requested access is denied"}]}',
            "403 Forbidden: DENIED requested access is denied: your account may not do this there",
        ),
        (404, b"<html>", "404 Not Found: is this a registry, and does the repository exist?"),
        (507, b"full", "the registry responded 507 Insufficient Storage"),
    ],
)
def test_a_registry_that_refuses(models, status, body, message):
    class Refusing(Handler):
        def do_GET(self):  # noqa: N802
            self.respond(404)

        def do_HEAD(self):  # noqa: N802
            self.respond(404)

        def do_POST(self):  # noqa: N802
            self.respond(status, body)

    with handled_by(Refusing) as url, pytest.raises(ModelFolderError) as raised:
        push(models, "cnn", 1, url.replace("http", "oci") + "/cnn")
    assert message in str(raised.value)


def test_no_password_goes_to_another_host(models, tmp_path, monkeypatch):
    """Some registries take uploads elsewhere."""
    seen = []

    class Elsewhere(Handler):
        def do_PUT(self):  # noqa: N802
            seen.append(self.headers.get("Authorization"))
            self.respond(500)

    class Registry(Elsewhere):
        def do_GET(self):  # noqa: N802
            known = self.headers.get("Authorization")
            self.respond(404 if known else 401, headers={"WWW-Authenticate": "Basic realm=x"})

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self):  # noqa: N802
            self.respond(202, headers={"Location": f"{elsewhere}/upload?x=1"})

    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with handled_by(Elsewhere) as elsewhere, handled_by(Registry) as url:
        address = url.removeprefix("http://")
        auths = {"auths": {address: {"auth": "YTpi"}}}
        (tmp_path / "config.json").write_text(json.dumps(auths))
        with pytest.raises(ModelFolderError, match="the registry responded 500"):
            push(models, "cnn", 1, f"oci://{address}/cnn")
    assert seen == [None]


def test_a_registry_without_tls(models, monkeypatch):
    class Plain(Handler):
        def do_GET(self):  # noqa: N802
            self.respond(404)

    monkeypatch.setattr(oci, "_is_local", lambda host: False)
    with (
        handled_by(Plain) as url,
        pytest.raises(ModelFolderError, match=r"no TLS connection .*REQUESTS_CA_BUNDLE"),
    ):
        push(models, "cnn", 1, url.replace("http", "oci") + "/cnn")


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"layers": 3}', b'{"manifests": [{}]}'])
def test_a_manifest_that_is_none(body):
    class Registry(Handler):
        def do_GET(self):  # noqa: N802
            self.respond(200, body)

    with handled_by(Registry) as url, pytest.raises(ModelFolderError, match=r"manifest"):
        oci.find(oci.parse_reference(url.replace("http", "oci") + "/cnn:1"))


@pytest.mark.parametrize("damage", ["cut", "other", "no archive"])
def test_a_damaged_layer(models, image, tmp_path, damage, monkeypatch):
    push(models, "cnn", 1, image)
    reference = oci.parse_reference(f"{image}:1")
    _, _, (digest,) = oci.find(reference)
    content = oci._Registry(reference)._call("GET", f"blobs/{digest}").content
    bad = {"cut": content[:3000], "other": content.replace(b"xxx", b"xxy"), "no archive": b"x"}[
        damage
    ]
    manifest = json.dumps({"layers": [{"digest": digest}]}).encode()

    class Registry(Handler):
        def do_GET(self):  # noqa: N802
            self.respond(200, bad if "/blobs/" in self.path else manifest)

    with handled_by(Registry) as url, pytest.raises(ModelFolderError, match=f"layer {digest}"):
        pull(url.replace("http", "oci") + "/cnn:1", tmp_path / "got")
    assert list((tmp_path / "got" / "cnn").glob("[!.]*")) == []
