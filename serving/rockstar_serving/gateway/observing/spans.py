"""OpenTelemetry spans of requests; needs the extra `rockstartf[otel]`.

The standard variables OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER … say
where spans go, under which name, and which. A request is one span with a child for each phase; they
are made when it is answered, so nothing of it waits for them.
"""

import threading
import time
from typing import Any

from flask import request
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from rockstar_serving.gateway.context import RequestContext
from rockstar_serving.gateway.observer import Observer


class Spans(Observer):
    """Makes spans of answered requests."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Make a tracer; call it in the worker, whose thread sends the spans.

        Args:
            exporter: takes the spans.
        """
        self._ids = _Ids()
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
        with self._ids.given(context):
            span = self._tracer.start_span(
                f"{request.method} {rule}",
                _caller(context),
                kind=SpanKind.SERVER,
                attributes=attributes,
                start_time=start,
            )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        inside = trace.set_span_in_context(span)
        for phase in context.phases:
            child = self._tracer.start_span(phase.name, inside, start_time=phase.start)
            child.end(phase.start + int(phase.seconds * 1e9))
        span.end(end)

    def close(self) -> None:
        """Send what is not sent yet."""
        self._provider.shutdown()


class _Ids(RandomIdGenerator):
    """Gives the span of a request the id that calls upstream were told."""

    def __init__(self) -> None:
        self._local = threading.local()

    def given(self, context: RequestContext) -> "_Given":
        return _Given(self._local, context)

    def generate_span_id(self) -> int:
        given: str | None = getattr(self._local, "span_id", None)
        return int(given, 16) if given else super().generate_span_id()

    def generate_trace_id(self) -> int:
        given: str | None = getattr(self._local, "trace_id", None)
        return int(given, 16) if given else super().generate_trace_id()


class _Given:
    def __init__(self, local: threading.local, context: RequestContext) -> None:
        self._local = local
        self._trace = context.trace

    def __enter__(self) -> None:
        self._local.span_id = self._trace.span_id
        self._local.trace_id = self._trace.trace_id

    def __exit__(self, *_: object) -> None:
        self._local.span_id = self._local.trace_id = None


def _caller(context: RequestContext) -> Context | None:
    """The span that the caller is in, if it said one."""
    found = context.trace
    if not found.parent_id:
        return None
    parent = SpanContext(
        int(found.trace_id, 16),
        int(found.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found.flags, 16)),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(parent))
