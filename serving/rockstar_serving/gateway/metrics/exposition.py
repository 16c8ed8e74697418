"""The numbers of all workers together, in the format that the scraper accepts."""

import os

from flask import Response, current_app, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from rockstar_serving.gateway import shared_counts


def metrics() -> Response:
    """Answer a scrape."""
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    folder = os.environ.get(shared_counts.VARIABLE)
    if folder is None:
        return Response(encode(current_app.extensions["metrics"]), content_type=content_type)
    registry = CollectorRegistry()
    with shared_counts.reading(folder):
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return Response(encode(registry), content_type=content_type)
