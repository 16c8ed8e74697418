"""OpenTelemetry spans of requests; needs the extra `rockstartf[otel]`.

The standard variables OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER …
configure export, name and sampling. A request is one span with a child per phase. Spans are created
after the request is answered, so they add no latency.
"""

import threading
import time
from typing import Any

from flask import request
from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from rockstar_serving.gateway.context import RequestContext, TraceContext
from rockstar_serving.gateway.observers import Observer


class Spans(Observer):
    """Creates the spans of answered requests."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Create a tracer; call it in the worker, where a thread exports the spans."""
        self._ids = _FixedIds()
        resource = Resource.create({SERVICE_NAME: "rockstar-gateway"}).merge(Resource.create())
        self._provider = TracerProvider(id_generator=self._ids, resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("rockstartf")

    def answered(self, context: RequestContext, status: int) -> None:
        """See Observer."""
        end = time.time_ns()
        start = end - int((time.monotonic() - context.started) * 1e9)
        rule = request.url_rule.rule if request.url_rule else request.path
        attributes: dict[str, Any] = {
            "http.request.method": request.method,
            "http.route": rule,
            "http.response.status_code": status,
            "rockstar.request_id": context.request_id,
            "rockstar.model": context.model,
            "rockstar.version": context.version or 0,
            "rockstar.instances": context.instances,
        }
        place, parent = context.trace, None
        if place.parent_id:
            caller = SpanContext(
                int(place.trace_id, 16),
                int(place.parent_id, 16),
                is_remote=True,
                trace_flags=TraceFlags(int(place.flags, 16)),
            )
            parent = trace.set_span_in_context(trace.NonRecordingSpan(caller))
        self._ids.use(place)
        span = self._tracer.start_span(
            f"{request.method} {rule}",
            parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=start,
        )
        self._ids.use(None)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        inside = trace.set_span_in_context(span)
        for phase in context.phases:
            child = self._tracer.start_span(phase.name, inside, start_time=phase.start)
            child.end(phase.start + int(phase.seconds * 1e9))
        span.end(end)

    def close(self) -> None:
        """Export the remaining spans."""
        self._provider.shutdown()


class _FixedIds(RandomIdGenerator):
    """Gives a request's span the ids that upstream calls were sent."""

    def __init__(self) -> None:
        self._local = threading.local()

    def use(self, trace: TraceContext | None) -> None:
        """Use these ids for the next span of this thread; None: random ones."""
        self._local.trace = trace

    def generate_span_id(self) -> int:
        given: TraceContext | None = getattr(self._local, "trace", None)
        return int(given.span_id, 16) if given else super().generate_span_id()

    def generate_trace_id(self) -> int:
        given: TraceContext | None = getattr(self._local, "trace", None)
        return int(given.trace_id, 16) if given else super().generate_trace_id()
