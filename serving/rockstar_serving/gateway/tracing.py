"""OpenTelemetry spans of requests; needs the extra `rockstartf[otel]`.

The standard variables OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER …
configure export, name and sampling. A request is one span with a child per phase. Spans are created
after the request is answered, so they add no latency.
"""

import threading
import time
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

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
        rule = context.route or context.path
        attributes: dict[str, Any] = {
            "http.request.method": context.method,
            "http.route": rule,
            "http.response.status_code": status,
            "rockstar.request_id": context.request_id,
            "rockstar.model": context.model,
            "rockstar.version": context.version or 0,
            "rockstar.instances": context.instances,
        }
        place, parent = context.trace, None
        if place.parent_id:
            traceparent = f"00-{place.trace_id}-{place.parent_id}-{place.flags}"
            parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
        self._ids.given = place
        name = f"{context.method} {rule}"
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, start_time=start)
        self._ids.given = None
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


class _FixedIds(threading.local, RandomIdGenerator):
    """Gives the next span of this thread the ids that upstream calls were sent, if any."""

    given: TraceContext | None = None

    def generate_span_id(self) -> int:
        return int(self.given.span_id, 16) if self.given else super().generate_span_id()

    def generate_trace_id(self) -> int:
        return int(self.given.trace_id, 16) if self.given else super().generate_trace_id()
