"""Base paths in object stores: new, changed and removed versions, uploads, failures, the cache."""

import logging
import shutil
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rockstar_contract.manifest import MANIFEST_FILE, write_manifest
from rockstar_serving.model_server.models import mirror
from rockstar_serving.model_server.models.config import (
    All,
    ConfigError,
    Latest,
    Specific,
    VersionPolicy,
    model_config,
)
from rockstar_serving.model_server.models.manager import Manager, StartError
from rockstar_serving.model_server.models.servables import State
from rockstar_serving.model_server.object_store import ObjectStore, StorageError
from rockstar_serving.model_server.options import LoadOptions
from tests.environments import environment
from tests.fake_engine import FakeLoader, add_version
from tests.http_servers import Handler, handled_by
from tests.integration.model_server.conftest import Start, ask
from tests.model_fixtures import SIDE, write_version
from tests.object_store import KEYS, REQUIREMENTS
from tests.object_store import object_store as running_store
from tests.waiting import until
from tfs_api.model_ref import ModelRef
from tfs_api.status import StatusError

obstore = pytest.importorskip("obstore")

MODEL = "models/m"


@dataclass
class Bucket:
    """A bucket with the versions of one model."""

    name: str
    store: object
    scratch: Path

    @property
    def url(self) -> str:
        return f"s3://{self.name}/{MODEL}"

    def put(self, key: str, content: bytes = b"") -> None:
        obstore.put(self.store, f"{MODEL}/{key}", content)

    def upload(self, folder: Path) -> None:
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{folder.name}/{path.relative_to(folder)}", path.read_bytes())

    def publish(self, version: int, *, manifest: bool = True, ok: bool = True) -> None:
        folder = add_version(self.scratch, version, ok=ok)
        if manifest:
            write_manifest(folder)
        self.upload(folder)

    def remove(self, version: int) -> None:
        for entry in obstore.list(self.store, f"{MODEL}/{version}").collect():
            obstore.delete(self.store, entry["path"])


@pytest.fixture(scope="module")
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    with running_store(environment(request.config, "object-storage", REQUIREMENTS)) as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "SETTLE_SECONDS", 0.3)
    monkeypatch.setattr(mirror, "RECHECK_SECONDS", 0.05)


@pytest.fixture
def bucket(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> Bucket:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{abs(hash(request.node.nodeid))}"
    create(endpoint, name)
    store = obstore.store.from_url(f"s3://{name}", client_options={"allow_http": True})
    return Bucket(name, store, tmp_path / "scratch")


def create(endpoint: str, bucket: str) -> None:
    with urllib.request.urlopen(
        urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"), timeout=30
    ):
        pass


def options(tmp_path: Path, *, wait: bool = True) -> LoadOptions:
    return LoadOptions(
        poll_seconds=0.05,
        settle_seconds=0.05,
        retry_seconds=0.05,
        cache_path=tmp_path / "cache",
        wait_for_models=wait,
    )


def manager_of(
    bucket: Bucket,
    tmp_path: Path,
    policy: VersionPolicy = Latest(),  # noqa: B008 (frozen)
) -> Manager:
    config = replace(model_config("m", bucket.url), policy=policy)
    return Manager([config], FakeLoader(), options(tmp_path))


@contextmanager
def serving(
    bucket: Bucket,
    tmp_path: Path,
    policy: VersionPolicy = Latest(),  # noqa: B008 (frozen)
) -> Iterator[Manager]:
    manager = manager_of(bucket, tmp_path, policy)
    manager.start()
    try:
        yield manager
    finally:
        manager.stop()


def available(manager: Manager) -> list[int]:
    try:
        statuses = manager.statuses(ModelRef("m"))
    except StatusError:
        return []
    return sorted(status.version for status in statuses if status.state == State.AVAILABLE)


def copies(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").glob("*/copies/*"))


def test_versions_come_and_go(
    bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bucket.publish(1)
    with serving(bucket, tmp_path) as manager:
        assert available(manager) == [1]
        bucket.publish(2)
        until(lambda: available(manager) == [2], what="version 2 takes over")
        until(lambda: [name[:2] for name in copies(tmp_path)] == ["2-"], what="1 is removed")
        bucket.remove(2)
        until(lambda: available(manager) == [1], what="version 1 comes back")
        # An empty listing is more likely a mistake than intended.
        bucket.remove(1)
        (place,) = (tmp_path / "cache").iterdir()
        until(lambda: "no version folder" in caplog.text, what="the listing is empty")
        assert available(manager) == [1]
        assert [path.name for path in (place / "versions").iterdir()] == ["1"]


def test_the_start_waits_for_the_first_version(
    bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    manager = manager_of(bucket, tmp_path)
    with ThreadPoolExecutor() as pool:
        start = pool.submit(manager.start)
        until(lambda: "waiting for model 'm'" in caplog.text, what="it is logged")
        assert f"({bucket.url}): no version folder, such as 1, in the base path" in caplog.text
        bucket.publish(1)
        start.result(30)
    assert available(manager) == [1]
    manager.stop()


def test_a_start_that_does_not_wait_logs_the_reason(bucket: Bucket, tmp_path: Path) -> None:
    config = model_config("m", "s3://no-such-bucket/m")
    manager = Manager([config], FakeLoader(), options(tmp_path, wait=False))
    with pytest.raises(StartError) as error:
        manager.start()
    assert str(error.value) == (
        "model 'm' (s3://no-such-bucket/m): there is no such bucket "
        "(NoSuchBucket: The specified bucket does not exist)"
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(Latest(), [3]), (Latest(2), [2, 3]), (All(), [1, 2, 3]), (Specific(frozenset({1, 9})), [1])],
)
def test_only_versions_of_the_policy_are_copied(
    bucket: Bucket, tmp_path: Path, policy: VersionPolicy, expected: list[int]
) -> None:
    for version in (1, 2, 3):
        bucket.publish(version)
    bucket.put("latest/model.tflite")
    bucket.put("4")  # not a folder
    with serving(bucket, tmp_path, policy) as manager:
        until(lambda: available(manager) == expected)
        assert [int(name.partition("-")[0]) for name in copies(tmp_path)] == expected


def test_a_version_is_loaded_when_all_that_its_manifest_names_is_uploaded(
    bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bucket.publish(1)
    folder = add_version(bucket.scratch, 2)
    (folder / "variables").mkdir()
    (folder / "variables" / "large").write_bytes(b"all of it")
    write_manifest(folder)
    bucket.put(f"2/{MANIFEST_FILE}", (folder / MANIFEST_FILE).read_bytes())
    bucket.put("2/variables/large", b"half")
    with serving(bucket, tmp_path) as manager:
        until(lambda: "version 2: it is being uploaded" in caplog.text)
        assert available(manager) == [1]
        assert not [name for name in copies(tmp_path) if name.startswith("2-")]
        bucket.upload(folder)
        until(lambda: available(manager) == [2])


def test_without_a_manifest_a_version_must_have_stopped_to_change(
    bucket: Bucket,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(mirror, "SETTLE_SECONDS", 50)
    bucket.publish(1)
    bucket.put("2/ok")
    with serving(bucket, tmp_path) as manager:
        until(lambda: "version 2: it is being uploaded: there is neither" in caplog.text)
        assert available(manager) == [1]
        bucket.put("2/model.tflite")
        until(lambda: "version 2: it may still be being uploaded" in caplog.text)
        assert available(manager) == [1]
        monkeypatch.setattr(mirror, "SETTLE_SECONDS", 0.1)
        until(lambda: available(manager) == [2])


def test_markers_of_folders_are_no_files(bucket: Bucket, tmp_path: Path) -> None:
    for key in ("", "1/", "1/assets/", "1/variables/", "1/variables/variables.index", "1/ok"):
        bucket.put(key)
    bucket.put("1/model.tflite")
    with serving(bucket, tmp_path):
        (folder,) = (tmp_path / "cache").glob("*/versions/1")
        assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
            "model.tflite",
            "ok",
            "variables",
            "variables/variables.index",
        ]


@pytest.mark.parametrize("key", ["2/../../../../evil", "2//model.tflite", "2/./ok"])
def test_a_name_that_leads_elsewhere_is_refused(
    bucket: Bucket, endpoint: str, tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.publish(1)
    # The library does not send such a name.
    urllib.request.urlopen(
        urllib.request.Request(
            f"{endpoint}/{bucket.name}/{MODEL}/{key}", b"x", {"Content-Type": "x/y"}, method="PUT"
        ),
        timeout=30,
    ).close()
    with serving(bucket, tmp_path) as manager:
        assert available(manager) == [1]
        assert "version 2: an object has a name that no file can have" in caplog.text
    assert not list(tmp_path.rglob("evil"))


def test_a_version_that_does_not_load_leaves_its_place_until_it_is_uploaded_again(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.publish(1)
    bucket.publish(2, ok=False)
    with serving(bucket, tmp_path) as manager:
        until(lambda: available(manager) == [1])
        bucket.publish(2)
        until(lambda: available(manager) == [2])


def test_copies_outlive_the_server_and_are_checked(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.publish(1)
    with serving(bucket, tmp_path):
        pass
    (copy,) = (tmp_path / "cache").glob("*/copies/1-*")
    fetched: list[str] = []
    stream = ObjectStore.stream

    def recorded(self: ObjectStore, key: str, tag: str = "") -> Iterator[bytes]:
        if (name := Path(key).name) != MANIFEST_FILE:
            fetched.append(name)
        return stream(self, key, tag)

    monkeypatch.setattr(ObjectStore, "stream", recorded)
    with serving(bucket, tmp_path) as manager:
        assert available(manager) == [1]
    assert fetched == []
    (copy / "ok").write_bytes(b"damaged")
    with serving(bucket, tmp_path) as manager:
        assert available(manager) == [1]
        assert (copy / "ok").read_bytes() == b""
    assert sorted(fetched) == ["model.tflite", "ok"]


def test_an_interrupted_copy_is_taken_up_again(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.publish(1)
    bucket.put("1/ok", b"12345")
    write_manifest_of(bucket)
    asked: list[str] = []
    stream = ObjectStore.stream

    def interrupted(self: ObjectStore, key: str, tag: str = "") -> Iterator[bytes]:
        asked.append(Path(key).name)
        if asked[-1] == "ok" and asked.count("ok") == 1:
            until(lambda: list((tmp_path / "cache").rglob("model.tflite")))
            yield b"12"
            raise StorageError("the connection was reset")
        yield from stream(self, key, tag)

    monkeypatch.setattr(ObjectStore, "stream", interrupted)
    with serving(bucket, tmp_path) as manager:
        assert available(manager) == [1]
    assert asked.count("ok") == 2
    assert asked.count("model.tflite") == 1


def write_manifest_of(bucket: Bucket) -> None:
    folder = bucket.scratch / "1"
    (folder / "ok").write_bytes(b"12345")
    write_manifest(folder)
    bucket.upload(folder)


def test_servers_that_share_a_cache_keep_apart(bucket: Bucket, tmp_path: Path) -> None:
    bucket.publish(1)
    bucket.publish(2)
    with serving(bucket, tmp_path, All()) as one, serving(bucket, tmp_path) as two:
        assert (available(one), available(two)) == ([1, 2], [2])
        assert [name[:2] for name in copies(tmp_path)] == ["1-", "2-", "2-"]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_cache_without_room_or_rights(
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bucket.publish(1)
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=0))
    manager = manager_of(bucket, tmp_path)
    with ThreadPoolExecutor() as pool:
        start = pool.submit(manager.start)
        until(lambda: "do not fit into the cache" in caplog.text)
        assert "choose another --model_cache_path" in caplog.text
        monkeypatch.setattr(shutil, "disk_usage", usage)
        start.result(30)
    manager.stop()
    (tmp_path / "file").touch()
    settings = LoadOptions(cache_path=tmp_path / "file" / "cache")
    with pytest.raises(ConfigError, match="name another folder with --model_cache_path"):
        Manager([model_config("m", bucket.url)], FakeLoader(), settings).start()


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """The address of a server that returns the same response to every request."""

    class Alike(Handler):
        def do_GET(self) -> None:  # noqa: N802
            self.respond(status, body.encode())

        do_PUT = do_GET  # noqa: N815

    with handled_by(Alike) as url:
        yield url


def error(code: str, message: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            403,
            error("InvalidAccessKeyId", "The key does not exist"),
            "access is denied (InvalidAccessKeyId: The key does not exist): set AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true where the bucket is public",
        ),
        (
            400,
            error("AuthorizationHeaderMalformed", "expecting 'eu-west-1'"),
            "the bucket is in another region (AuthorizationHeaderMalformed: expecting "
            "'eu-west-1'): set AWS_REGION",
        ),
        (404, error("NoSuchBucket", "gone"), "there is no such bucket (NoSuchBucket: gone)"),
        (418, "", "{address}/b cannot be read"),
    ],
)
def test_errors_name_the_setting(
    monkeypatch: pytest.MonkeyPatch, status: int, body: str, expected: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    with answering(status, body) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(StorageError) as raised:
            ObjectStore("s3://b/m").folders()
    assert str(raised.value).startswith(expected.format(address=address))
    assert "secret" not in str(raised.value).replace("AWS_SECRET", "")


def test_a_store_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, "") as address:
        pass  # no server listens there any more
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=f"{address}/b cannot be read .Connection refused"):
        ObjectStore("s3://b/m").folders()


def test_missing_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    with answering(403, "not a machine of that cloud") as address:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", address)
        with pytest.raises(StorageError, match="there are no credentials: set AWS_ACCESS_KEY_ID"):
            ObjectStore("s3://b/m").folders()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("hdfs://host/m", "expected a folder or a URL that begins with s3://"),
        ("s3:///m", "expected a bucket, such as s3://bucket/models/cnn"),
        ("s3://key:secret@bucket/m", "credentials do not belong in it"),
    ],
)
def test_urls_that_cannot_be_served(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model_config("m", url)


def test_the_library_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'rockstartf\[storage\]'"):
        model_config("m", "gs://bucket/m")


def test_the_endpoint_as_tensorflow_names_it(
    bucket: Bucket, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.publish(1)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("S3_ENDPOINT", endpoint.removeprefix("http://"))
    monkeypatch.setenv("S3_USE_HTTPS", "0")
    assert ObjectStore(bucket.url).folders() == ["1"]


def test_public_buckets_need_no_keys(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.publish(1)
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    assert ObjectStore(bucket.url).folders() == ["1"]


def test_a_server_as_a_process(bucket: Bucket, start: Start, tmp_path: Path) -> None:
    folder = write_version(tmp_path / "toy", 1)
    write_manifest(folder)
    bucket.upload(folder)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "toy" base_path: "{bucket.url}" '
        'model_platform: "tensorflow" } }'
    )
    process = start(
        *(f"--model_config_file={config}", f"--model_cache_path={tmp_path / 'cache'}"),
        *("--port=0", "--rest_api_port=auto"),
    )
    image = [[[0.0]] * SIDE] * SIDE
    status, answer = ask(
        process.address()["rest"], "/v1/models/toy:predict", {"instances": [image]}
    )
    assert status == 200, answer
    process.popen.terminate()
    code, log = process.finish()
    assert code == 0
    assert f"from {bucket.url}" in log
    assert "secret" not in log
