"""TensorFlow Serving's monitoring config file."""

from pathlib import Path

from rockstar_serving.model_server.models.config import ConfigError
from rockstar_serving.model_server.options import MonitoringOptions
from rockstar_serving.model_server.text_proto import parse_text_proto, read_config
from tfs_api.messages.monitoring_config_pb2 import MonitoringConfig

DEFAULT_PATH = "/monitoring/prometheus/metrics"


def read_monitoring_config(file: Path) -> MonitoringOptions:
    """What a file says of monitoring.

    Args:
        file: in the text format of MonitoringConfig.

    Raises:
        ConfigError: not readable, not in that format, or with a path that cannot be used.
    """
    where = f"monitoring config file {file}"
    message = parse_text_proto(read_config(file, where), MonitoringConfig, where)
    prometheus = message.prometheus_config
    if not prometheus.enable:
        return MonitoringOptions()
    path = prometheus.path or DEFAULT_PATH
    if not path.startswith("/") or path.lower().startswith("/v1/models"):
        raise ConfigError(
            f"{where}: prometheus_config.path: expected one that begins with '/' and not with "
            f"/v1/models, where the REST API is, such as {DEFAULT_PATH}; got {path!r}"
        )
    return MonitoringOptions(path)
