"""The model config file."""

from pathlib import Path

import pytest

from serving.model_server.models.config import (
    All,
    ConfigError,
    Latest,
    ModelConfig,
    Specific,
    read_config_file,
)

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
  config { name: "mlp" base_path: "file:///models/mlp" model_version_policy { all {} } }
  config: {
    name: "linear",
    base_path: "/models/linear",
    model_version_policy: { latest: { num_versions: 2 } }
  }
  config { name: "plain" base_path: "/models/plain" }
}
"""


def test_a_config_file(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(GOOD)
    labels = {"stable": 2, "canary": 3}
    assert read_config_file(file) == (
        ModelConfig("cnn", Path("/models/cnn"), Specific(frozenset({2, 3})), labels),
        ModelConfig("mlp", Path("/models/mlp"), All()),
        ModelConfig("linear", Path("/models/linear"), Latest(2)),
        ModelConfig("plain", Path("/models/plain"), Latest(1)),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no model"),
        ("model_config_list { config { name: 3 } }", "1:36"),
        ("model_config_list { config { nom: 'm' } }", 'no field named "nom"'),
        ("model_config_list { config { name: 'm' } }", "model 'm': base_path is missing"),
        ("model_config_list { config { base_path: '/m' } }", "a name is needed"),
        (
            "model_config_list { config { name: 'm' base_path: '/m' model_platform: 'onnx' } }",
            "model 'm': model_platform must be 'tensorflow'",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/m' } "
            "config { name: 'm' base_path: '/n' } }",
            "names model 'm' twice",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/m' "
            "model_version_policy { specific {} } } }",
            "the specific policy names no version",
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


def test_a_missing_config_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        read_config_file(tmp_path / "none")
