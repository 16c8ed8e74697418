"""The observers that the settings ask for."""

from pathlib import Path

from rockstar_serving.gateway.config import GatewayConfig
from rockstar_serving.gateway.observer import Observer
from rockstar_serving.gateway.observing.access_log import AccessLog
from rockstar_serving.gateway.observing.payload_log import PayloadLog

# APIs that are asked so often that their success is not worth a line in the log.
_QUIET = frozenset({"ops", "metrics", "oip-health", "pages"})


def observers_for(config: GatewayConfig) -> list[Observer]:
    """Make them; in the process that serves."""
    observers: list[Observer] = []
    if config.access_log:
        observers.append(AccessLog(_QUIET))
    if config.payload_log:
        observers.append(PayloadLog(Path(config.payload_log), config.payload_share))
    if config.tracing:
        # Only here: an extra that is not installed everywhere.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from rockstar_serving.gateway.observing.spans import Spans

        observers.append(Spans(OTLPSpanExporter()))
    return observers
