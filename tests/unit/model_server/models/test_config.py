"""The model config file, read once or watched."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rockstar_serving.model_server.batching_parameters import read_parameters
from rockstar_serving.model_server.grpc_server import read_ssl_config
from rockstar_serving.model_server.models.config import (
    All,
    ConfigError,
    ConfigFileWatcher,
    Latest,
    ModelConfig,
    Specific,
    read_config_file,
)
from rockstar_serving.model_server.models.manager import Manager
from rockstar_serving.model_server.models.servables import State
from rockstar_serving.model_server.monitoring import read_monitoring_config
from rockstar_serving.model_server.options import LoadOptions
from tests.fake_engine import FakeLoader, add_version, running
from tests.waiting import until
from tfs_api.model_ref import ModelRef

GOOD = """
# comments are allowed
model_config_list {
  config {
    name: "cnn"
    base_path: "/models/cnn"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 2 versions: 3 } }
    version_labels { key: "stable" value: 2 }
    version_labels { key: "canary" value: 3 }
  }
  config {
    name: "mlp" base_path: "file:///models/mlp" model_platform: "tensorflow"
    model_version_policy { all {} }
  }
  config: {
    name: "linear",
    base_path: "/models/linear",
    model_platform: "tensorflow",
    model_version_policy: { latest: { num_versions: 2 } }
  }
  config { name: "plain" base_path: "/models/plain" model_type: TENSORFLOW }
  config {
    name: "none" base_path: "/models/none" model_platform: "tensorflow"
    model_version_policy { specific {} }
  }
}
"""


def test_a_config_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "models.config"
    file.write_text(GOOD)
    labels = {"stable": 2, "canary": 3}
    assert read_config_file(file) == (
        ModelConfig("cnn", Path("/models/cnn"), Specific(frozenset({2, 3})), labels),
        ModelConfig("mlp", Path("/models/mlp"), All()),
        ModelConfig("linear", Path("/models/linear"), Latest(2)),
        ModelConfig("plain", Path("/models/plain"), Latest(1)),
        ModelConfig("none", Path("/models/none"), Specific(frozenset())),
    )
    assert caplog.messages == ["No specific versions requested for servable none."]


def test_an_empty_list_is_a_choice(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("model_config_list {}")
    assert read_config_file(file) == ()


def test_an_empty_file_begins_without_models(tmp_path, caplog):
    """As in TensorFlow Serving, which ignores it."""
    file = tmp_path / "models.config"
    file.write_text("# later")
    assert read_config_file(file) == ()
    assert f"model config file {file} names no model: expected model_config_list" in caplog.text


M = "name: 'm' base_path: '/m' model_platform: 'tensorflow' "


def one(fields: str) -> str:
    return f"model_config_list {{ config {{ {fields} }} }}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("custom_model_config {}", "got custom_model_config"),
        (
            "model_config_list { config { name: 3 } }",
            "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:36",
        ),
        (one("nom: 'm'"), '"tensorflow.serving.ModelConfig" has no field named "nom"'),
        (one("name: 'm'"), "Expected model m to have an absolute path or URI; got base_path()="),
        (one("name: 'm' base_path: 'models/m'"), "absolute path or URI; got base_path()=models/m"),
        (
            one("name: 'm' base_path: 'hdfs://host/m' model_platform: 'tensorflow'"),
            "model m: base path hdfs://host/m: expected a folder or a URL that begins with s3://",
        ),
        (one("base_path: '/m'"), "model 1 in the list: name: expected a name, got ''"),
        (
            one("name: 'm' base_path: '/m' model_platform: 'onnx'"),
            'Model m requests unsupported platform onnx: model_platform: expected "tensorflow"',
        ),
        (
            one(M + "model_type: TENSORFLOW"),
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is m",
        ),
        (
            one("name: 'm' base_path: '/m'"),
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            'ModelServerConfig::model_platform, model name is m: write model_platform: "tensorflow"',
        ),
        (
            one(M + "logging_config {}"),
            "model m: logging_config: No request-logger-creator provided",
        ),
        (
            one("name: 'm' base_path: '/m' model_type: OTHER"),
            "model m: ModelServerConfig::model_type choice 2 not supported",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/m' } "
            "config { name: 'm' base_path: '/n' } }",
            "Illegal to list model m multiple times in config list",
        ),
        (
            one(M + "model_version_policy { specific { versions: -1 } }"),
            "model m: model_version_policy.specific.versions: expected versions of at least 0, "
            "got -1",
        ),
        (
            one(M + "version_labels { key: 'stable' value: -1 }"),
            "model m: version_labels: expected a label and a version of at least 0, got 'stable' and",
        ),
    ],
)
def test_wrong_config_files(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "models.config"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config_file(file)
    assert str(file) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "read", [read_config_file, read_monitoring_config, read_parameters, read_ssl_config]
)
def test_a_missing_config_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(ConfigError, match="none cannot be read: No such file or directory"):
        read(tmp_path / "none")


class Watched:
    """A file, its model manager and its watcher."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "models.config"
        for name in "ab":
            add_version(folder / name, 1)
        self.write("a")
        self.manager = Manager(
            read_config_file(self.file), FakeLoader(), LoadOptions(settle_seconds=0)
        )
        self.manager.start()
        self.watcher = ConfigFileWatcher(self.file, self.manager, 0.01)

    def write(self, *names: str, more: str = "") -> None:
        entries = (
            f'config {{ name: "{name}" base_path: "{self.folder}/{name}" '
            f'model_platform: "tensorflow" {more} }}'
            for name in names
        )
        self.file.write_text(f"model_config_list {{ {' '.join(entries)} }}")

    def state(self, name: str) -> State:
        return self.manager.statuses(ModelRef(name))[0].state


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.watcher.stop()
    watched.manager.stop()


def test_the_file_wins_over_requests(watched: Watched) -> None:
    watched.manager.reload([])
    watched.watcher.check()
    assert [config.name for config in watched.manager.configs] == ["a"]


LABEL = 'version_labels { key: "stable" value: 2 }'


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda watched: watched.file.unlink(), "cannot be read: No such file or directory; what"),
        (lambda watched: watched.file.write_text(""), "Cannot transition to requested config"),
        (lambda watched: watched.file.write_text("model_config_list { confi"), "1:21"),
        (
            lambda watched: watched.write("b", more=LABEL),
            "Request to assign label to version 2 of model b",
        ),
    ],
)
def test_an_invalid_file_changes_nothing_and_is_logged_once(watched, caplog, spoil, message):
    def errors() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]

    before = watched.manager.configs
    spoil(watched)
    for _ in range(3):
        watched.watcher.check()
    assert watched.manager.configs == before
    assert watched.state("a") == State.AVAILABLE
    (error,) = errors()
    assert message in error
    assert str(watched.file) in error
    watched.write("a")
    watched.watcher.check()
    spoil(watched)
    watched.watcher.check()
    assert len(errors()) == 2  # the problem is a different one now


def test_a_label_that_came_too_early_is_given_as_soon_as_it_can_be(watched: Watched) -> None:
    watched.write("a", more=f"{LABEL} model_version_policy {{ all {{}} }}")
    watched.watcher.check()
    add_version(watched.folder / "a", 2)
    until(lambda: watched.state("a") == State.AVAILABLE, what="version 2 is loaded")

    def labeled() -> bool:
        watched.watcher.check()
        return bool(watched.manager.configs[0].labels)

    until(labeled, what="the label is given")


def test_a_label_that_has_to_wait_holds_up_nothing_else(tmp_path: Path) -> None:
    def write(version: int) -> None:
        policy = f"model_version_policy {{ specific {{ versions: {version} }} }}"
        label = f'version_labels {{ key: "stable" value: {version} }}'
        (tmp_path / "models.config").write_text(
            f'model_config_list {{ config {{ name: "a" base_path: "{tmp_path}/a" '
            f'model_platform: "tensorflow" {policy} {label} }} }}'
        )

    for version in (1, 2):
        add_version(tmp_path / "a", version)
    write(2)
    options = LoadOptions(settle_seconds=0, allow_labels_for_unavailable=True)
    with running(*read_config_file(tmp_path / "models.config"), options=options) as manager:
        watcher = ConfigFileWatcher(tmp_path / "models.config", manager, 0.01, labels_may_wait=True)
        write(1)
        watcher.check()

        def moved() -> bool:
            watcher.check()
            return manager.configs[0].labels == {"stable": 1}

        until(moved, what="the label moves")
        with manager.servable(ModelRef("a", label="stable")) as servable:
            assert servable.id.version == 1
