"""The numbers of all workers together, in the format that the scraper accepts."""

import os

from flask import Response, current_app, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

# Where workers keep their numbers as files, so that any of them can tell the sum; set by the server
# before its workers import prometheus_client, which reads it then.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def metrics() -> Response:
    """Answer a scrape."""
    registry: CollectorRegistry = current_app.extensions["metrics"]
    if FOLDER_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)
