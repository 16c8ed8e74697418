"""Flags of what the server tells of itself."""

import argparse
import logging

from rockstar_serving.model_server.flags import values
from rockstar_serving.model_server.options import MonitoringOptions

log = logging.getLogger(__name__)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument_group("monitoring").add_argument(
        "--monitoring_config_file",
        type=values.path,
        metavar="PATH",
        help="text protobuf: prometheus_config { enable: true } serves metrics at the REST port",
    )


def monitoring_options(given: argparse.Namespace) -> MonitoringOptions:
    """What the file says of monitoring.

    Raises:
        ConfigError: it cannot be used.
    """
    if given.monitoring_config_file is None:
        return MonitoringOptions()
    if given.rest_api_port is None:
        # It is not even read, as in TensorFlow Serving.
        log.warning("--monitoring_config_file is without effect: no --rest_api_port")
        return MonitoringOptions()
    # Without the flag, prometheus_client is not loaded.
    from rockstar_serving.model_server.monitoring import read_monitoring_config

    return read_monitoring_config(given.monitoring_config_file)
