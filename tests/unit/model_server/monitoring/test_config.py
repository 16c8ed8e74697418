"""TensorFlow Serving's monitoring config file."""

from pathlib import Path

import pytest

from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.monitoring.config import read_monitoring_config


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true, path: "/metrics" }', "/metrics"),
        ('prometheus_config: { enable: true path: "/v1/metrics" }', "/v1/metrics"),
        ('prometheus_config { path: "/metrics" }', None),
        ("prometheus_config { enable: false }", None),
        ("", None),
    ],
)
def test_where_metrics_are_served(tmp_path: Path, text: str, path: str | None) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    assert read_monitoring_config(file).path == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'prometheus_config { enable: true, path: "metrics" }',
            "one that begins with '/'.*'metrics'",
        ),
        ('prometheus_config { enable: true, path: "/V1/models/m" }', "not with /v1/models, where"),
        ("prometheus_config { enabled: true }", 'has no field named "enabled"'),
        ("prometheus_config { enable: maybe }", '1:29 .* Expected "true" or "false"'),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_monitoring_config(file)
    assert str(caught.value).startswith(f"monitoring config file {file}: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none cannot be read: No such file"):
        read_monitoring_config(tmp_path / "none")
