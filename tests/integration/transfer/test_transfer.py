"""Push and pull: versions and labels in folders, buckets and registries."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from rockstar_contract.manifest import MANIFEST_FILE, write_manifest
from rockstar_serving import transfer
from rockstar_serving.model_folder import ModelFolderError, read_labels
from rockstar_serving.model_server import object_store
from rockstar_serving.registry import verify
from rockstar_serving.transfer import pull, push
from tests.command_line import ROOT, invoke, invoke_json, start
from tests.http_servers import Handler, handled_by
from tests.object_store import KEYS
from tests.registries import add_version


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_version_and_its_label_travel(models, destination, source_of, tmp_path):
    moved = push(models, "cnn", 2, destination, label="stable")
    assert (moved.version, moved.new) == (2, True)
    got = pull(source_of(2), tmp_path / "got")
    assert got.place == str(tmp_path / "got" / "cnn" / "2")
    assert files(tmp_path / "got" / "cnn" / "2") == files(models / "cnn" / "2")
    assert pull(source_of("stable"), tmp_path / "by label").version == 2
    assert all(verdict.problem == "" for verdict in verify(tmp_path / "got"))

    push(models, "cnn", 1, destination, label="stable")
    assert pull(source_of("stable"), tmp_path / "got", label="stable").version == 1
    assert read_labels(tmp_path / "got").labels("cnn") == {"stable": 1}


def test_the_newest_served_version_is_pushed_and_pulled(models, bucket, tmp_path):
    add_version(models, "cnn", 3).rename(models / "cnn" / "held-3")
    assert push(models, "cnn", None, bucket).version == 2
    assert push(models, "cnn", 3, bucket).version == 3
    assert pull(f"{bucket}/cnn", tmp_path / "got").version == 3


def test_a_second_push_changes_nothing(models, destination, source_of, tmp_path):
    assert push(models, "cnn", 1, destination).new
    assert not push(models, "cnn", 1, destination).new
    assert pull(source_of(1), tmp_path / "got").new
    assert not pull(source_of(1), tmp_path / "got").new


def test_another_version_with_the_number_is_refused(models, destination, source_of, tmp_path):
    push(models, "cnn", 1, destination, label="stable")
    before = files(models / "cnn" / "1")
    (models / "cnn" / "1" / "model.tflite").write_bytes(b"another")
    write_manifest(models / "cnn" / "1")
    with pytest.raises(ModelFolderError, match="has another content: publish yours under another"):
        push(models, "cnn", 1, destination)
    pull(source_of(1), tmp_path / "got")
    assert files(tmp_path / "got" / "cnn" / "1") == before
    with pytest.raises(ModelFolderError, match="has another content: publish yours under another"):
        pull(source_of("stable"), models)


def test_a_damaged_version_or_one_without_a_manifest_is_not_pushed(
    models, destination, source_of, tmp_path
):
    (models / "cnn" / "1" / "model.tflite").write_bytes(b"y" * 2048)
    with pytest.raises(ModelFolderError, match=r"model\.tflite has another content"):
        push(models, "cnn", 1, destination)
    (models / "cnn" / "2" / MANIFEST_FILE).unlink()
    with pytest.raises(ModelFolderError, match=r"has no manifest\.json"):
        push(models, "cnn", 2, destination)
    with pytest.raises(ModelFolderError, match="does not exist"):
        pull(source_of(1), tmp_path / "got")


def test_a_label_goes_back_with_the_history_of_the_bucket(models, bucket, tmp_path):
    push(models, "cnn", 1, bucket, label="stable")
    push(models, "cnn", 2, bucket, label="stable", base_path="/models")
    # A copy of the bucket is a folder of models.
    store = object_store.ObjectStore(bucket)
    copy = tmp_path / "copy"
    for stored in store.objects(""):
        (copy / stored.key).parent.mkdir(parents=True, exist_ok=True)
        (copy / stored.key).write_bytes(b"".join(store.stream(stored.key, stored.tag)))
    assert 'base_path: "/models/cnn"' in (copy / "models.config").read_text()
    assert (
        "stable is version 1 again"
        in invoke("rollback", "cnn", "--label=stable", "--models", copy).output
    )


def test_labels_that_somebody_else_moves_meanwhile_are_not_lost(models, bucket, monkeypatch):
    push(models, "cnn", 1, bucket, label="stable")
    promote = transfer.registry.promote

    def beside_another(*arguments):
        promote(*arguments)
        monkeypatch.setattr(transfer.registry, "promote", promote)
        push(models, "cnn", 2, bucket, label="canary")

    monkeypatch.setattr(transfer.registry, "promote", beside_another)
    with pytest.raises(ModelFolderError, match="changed by somebody else meanwhile"):
        push(models, "cnn", 2, bucket, label="stable")
    assert 'key: "canary"' in (transfer._Bucket(bucket).read("models.config") or b"").decode()


def test_google_compares_generations(monkeypatch):
    seen = []

    class Google(Handler):
        def do_GET(self):  # noqa: N802
            dated = {"Last-Modified": "Sun, 29 Nov 2026 20:00:00 GMT"}
            self.respond(200, b"old", {"ETag": '"e"', "x-goog-generation": "7", **dated})

        def do_PUT(self):  # noqa: N802
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers["x-goog-if-generation-match"])
            self.respond(412 if len(seen) == 1 else 200, headers={"ETag": '"f"'})

    with handled_by(Google) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        store = object_store.ObjectStore("gs://bucket/models")
        _, replaces = store.read("models.config") or (b"", {})
        with pytest.raises(object_store.ChangedError, match="written by somebody else"):
            store.write("models.config", b"new", replaces=replaces)
        store.write("models.config", b"new", replaces={})
    assert seen == ["7", "0"]


def test_a_bucket_never_shows_half_a_version(models, bucket, monkeypatch, tmp_path):
    write = object_store.ObjectStore.write

    def fails(store, key, content, **options):
        if key.endswith("model.tflite"):
            raise object_store.StorageError("there is no such bucket")
        write(store, key, content, **options)

    monkeypatch.setattr(object_store.ObjectStore, "write", fails)
    with pytest.raises(ModelFolderError, match="no such bucket"):
        push(models, "cnn", 1, bucket)
    monkeypatch.setattr(object_store.ObjectStore, "write", write)
    with pytest.raises(ModelFolderError, match="NoSuchKey"):
        pull(f"{bucket}/cnn/1", tmp_path / "got")
    assert list((tmp_path / "got" / "cnn").glob("[!.]*")) == []
    # The rest is added.
    assert push(models, "cnn", 1, bucket).new
    assert pull(f"{bucket}/cnn/1", tmp_path / "got").new


def test_what_a_store_damages_is_noticed_and_repaired(models, bucket, tmp_path):
    push(models, "cnn", 1, bucket)
    object_store.ObjectStore(bucket).write("cnn/1/model.tflite", b"y" * 2048)
    with pytest.raises(ModelFolderError, match=r"model\.tflite has another content"):
        pull(f"{bucket}/cnn/1", tmp_path / "got")
    assert push(models, "cnn", 1, bucket).new
    assert pull(f"{bucket}/cnn/1", tmp_path / "got").new


def test_files_without_a_manifest_are_left_alone(models, bucket, tmp_path):
    store = object_store.ObjectStore(bucket)
    store.write("cnn/1/saved_model.pb", b"of somebody else")
    with pytest.raises(ModelFolderError, match=r"without a manifest\.json to compare"):
        push(models, "cnn", 1, bucket)
    with pytest.raises(ModelFolderError, match=r"has no manifest\.json to check"):
        pull(f"{bucket}/cnn/1", tmp_path / "got")


def test_a_manifest_names_no_file_outside_of_the_version(models, bucket, tmp_path):
    manifest = models / "cnn" / "1" / MANIFEST_FILE
    document = manifest.read_text().replace("model.tflite", "../../../outside")
    object_store.ObjectStore(bucket).write("cnn/1/manifest.json", document.encode())
    with pytest.raises(ModelFolderError, match="is no path within the version"):
        pull(f"{bucket}/cnn/1", tmp_path / "got")


def test_an_interrupted_copy_is_repeated(models, tmp_path):
    target = tmp_path / "there"
    command = """
import os, signal, sys
from pathlib import Path
from rockstar_serving import transfer
transfer.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
transfer.push(Path(sys.argv[1]), "cnn", 1, sys.argv[2])
"""
    died = subprocess.run([sys.executable, "-c", command, models, target], cwd=ROOT, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert list((target / "cnn").glob("[!.]*")) == []
    assert push(models, "cnn", 1, str(target)).new
    assert sorted(os.listdir(target / "cnn")) == [".lock", "1"]


@pytest.mark.parametrize("kind", ["s3", "oci"])
def test_ctrl_c_ends_an_upload_at_once(models, monkeypatch, kind):
    uploading, leave = threading.Event(), threading.Event()

    class Slow(Handler):
        def do_GET(self):  # noqa: N802
            empty = b"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
            self.respond(200 if "list-type" in self.path else 404, empty)

        def do_HEAD(self):  # noqa: N802
            self.respond(404)

        def do_POST(self):  # noqa: N802
            self.respond(202, headers={"Location": "/upload"})

        def do_PUT(self):  # noqa: N802
            uploading.set()
            leave.wait(60)
            self.close_connection = True

    with handled_by(Slow) as url:
        address = url.removeprefix("http://")
        destination = {"s3": "s3://bucket/models", "oci": f"oci://{address}/cnn"}[kind]
        environ = {**KEYS, "AWS_ENDPOINT_URL": url}
        with start("push", "cnn", destination, "--models", models, env=environ) as pushing:
            assert uploading.wait(60)
            pushing.send_signal(signal.SIGINT)
            _, errors = pushing.communicate(timeout=20)
            leave.set()
    assert (pushing.returncode, errors.split()) == (130, ["Interrupted."])


@pytest.mark.parametrize(
    "command", [("push", "cnn/1", "there"), ("pull", "models/cnn/1", "--models=there")]
)
def test_a_folder_without_permission(models, tmp_path, command):
    (tmp_path / "there").mkdir(mode=0o555)
    # Root may write everywhere, unless it gives that up.
    own = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*own, sys.executable, "-m", "rockstar_cli", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: there/cnn cannot be changed: Permission denied\n"


@pytest.mark.parametrize("command", ["push", "pull"])
def test_a_bucket_that_disappears_midway(models, bucket, endpoint, tmp_path, monkeypatch, command):
    push(models, "cnn", 1, bucket)
    name = {"push": "write", "pull": "stream"}[command]
    unchanged = getattr(object_store.ObjectStore, name)

    def after_the_end(store, key, *arguments, **options):
        if key.endswith("model.tflite"):
            # Of all buckets of this test server.
            assert requests.post(f"{endpoint}/moto-api/reset", timeout=30).ok
        return unchanged(store, key, *arguments, **options)

    monkeypatch.setattr(object_store.ObjectStore, name, after_the_end)
    moved = {
        "push": ("push", "cnn/2", bucket, "--models", models),
        "pull": ("pull", f"{bucket}/cnn/1", "--models", tmp_path / "got"),
    }[command]
    result = invoke(*moved)
    assert result.exit_code == 1
    assert f"{bucket}: " in result.stderr
    assert "NoSuchBucket" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.glob("got/cnn/[!.]*")) == []


@pytest.mark.parametrize("denied", ["GET", "PUT"])
def test_a_bucket_without_permission(models, monkeypatch, denied):
    class Store(Handler):
        def do_GET(self):  # noqa: N802
            empty = b"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
            reason = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            status = 403 if self.command == denied else 200
            self.respond(status, reason if status == 403 else empty)

        def do_PUT(self):  # noqa: N802
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

    with handled_by(Store) as url:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        result = invoke("push", "cnn", "s3://bucket/models", "--models", models)
    assert result.exit_code == 1
    assert "AccessDenied" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(models, tmp_path, monkeypatch):
    def full(path, to):
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ModelFolderError, match="No space left on device"):
        push(models, "cnn", 1, str(tmp_path / "there"))
    assert list((tmp_path / "there" / "cnn").glob("[!.]*")) == []


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("ftp://host/models", "expected a folder or a URL that begins with oci://, s3://"),
        ("models/cnn", "is a model: name the folder that holds it"),
        ("oci://cnn:1", "expected oci://REGISTRY/NAME"),
        ("oci://localhost:1/CNN", "names have only a-z"),
        ("oci://localhost:1/cnn:2", "the tag is the number of another version: expected 1"),
        ("oci://localhost:1/cnn:-", "cannot be a tag"),
        ("oci://localhost:1/cnn@3", "cannot be a tag or digest"),
        ("s3://", "s3://: expected a bucket"),
        ("oci://localhost:1/cnn", "no connection (Connection refused)"),
        ("oci://localhost:1/cnn@sha256:" + 64 * "0", "a digest follows from the content"),
    ],
)
def test_invalid_destinations(models, destination, message, monkeypatch):
    monkeypatch.chdir(models.parent)
    result = invoke("push", "cnn/1", destination)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "source", ["nothing", "models", "models/cnn/7", "models/cnn/stable", "models/nothing"]
)
def test_invalid_sources(models, source, monkeypatch, tmp_path):
    monkeypatch.chdir(models.parent)
    result = invoke("pull", source, "--models", tmp_path / "got")
    assert result.exit_code == 1
    assert f"{source} does not exist" in result.stderr
    assert not (tmp_path / "got").exists()


def test_commands(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pushed = invoke_json("push", "cnn/1", "there", "--label=stable", "--base-path=/models")
    assert pushed == {
        "model": "cnn",
        "version": 1,
        "place": "there/cnn/1",
        "new": True,
        "label": "stable",
        "files": 2,
        "bytes": pushed["bytes"],
    }
    assert 'base_path: "/models/cnn"' in Path("there/models.config").read_text()
    invoke("push", "cnn/2", "there")
    result = invoke("pull", "--models", "got", env={"ROCKSTAR_PULL": "there/cnn/stable there/cnn"})
    assert [line.split(" is now")[0] for line in result.output.splitlines()] == [
        "cnn version 1",
        "cnn version 2",
    ]
    assert invoke("push", "cnn/x", "there").exit_code == 2


def test_a_missing_extra_is_named(models, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = invoke("push", "cnn", "s3://bucket/models", "--models", models)
    assert "pip install 'rockstartf[storage]'" in result.stderr
