"""Log lines, traces and payload samples of requests."""

import hashlib
import json
import logging
import re
from dataclasses import replace

import pytest

from rockstar_serving.gateway.context import RequestContext, trace_context, trace_headers
from rockstar_serving.gateway.observers import AccessLog
from tests.unit.gateway.conftest import IMAGE, post

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def lines(caplog):
    return [r for r in caplog.records if r.name == AccessLog.__module__]


def test_one_line_for_each_request(config, server, create_gateway, caplog):
    caplog.set_level(logging.INFO)
    http = create_gateway(replace(config, log_format="json"), server).test_client()
    post(http, **{"X-Request-ID": "abc-1"})
    post(http, data=b"nothing")
    good, bad = lines(caplog)
    assert re.fullmatch(r"POST /predict/toy 200 \d+\.\d ms abc-1", good.getMessage())
    assert (good.model, good.version, good.instances, good.status) == ("toy", 1, 1, 200)
    assert good.milliseconds >= good.upstream_milliseconds > 0
    assert bad.status == 400


def test_a_path_cannot_forge_a_line(http, caplog):
    caplog.set_level(logging.INFO)
    http.get("/predict/x%0A2026-01-01T00:00:00 INFO gateway: forged%1B[2J")
    (line,) = lines(caplog)
    assert line.getMessage().isprintable()
    assert "/predict/x%0A2026" in line.getMessage()


def test_probes_are_not_worth_a_line_unless_they_fail(http, server, caplog):
    caplog.set_level(logging.INFO)
    for path in ("/livez", "/readyz", "/metrics", "/"):
        assert http.get(path).status_code == 200
    assert not lines(caplog)
    server.versions.clear()
    server.failure = ValueError("boom")
    for _ in range(3):  # a failing probe is repeated
        assert http.get("/readyz").status_code >= 500
    assert [line.levelname for line in lines(caplog)] == ["WARNING"]


def test_a_callers_trace_is_continued_upstream(server, config, create_gateway):
    seen = []

    class Listening(type(server)):
        def predict(self, query):
            seen.append(dict(trace_headers()))
            return super().predict(query)

    post(create_gateway(config, Listening()).test_client(), traceparent=PARENT, tracestate="a=1")
    (headers,) = seen
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", PARENT.split("-")[1], "01")
    assert span_id != PARENT.split("-")[2]
    assert headers["tracestate"] == "a=1"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        PARENT.upper(),
        PARENT + "-more",
        "ff" + PARENT[2:],
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
    ],
)
def test_a_header_that_makes_no_sense_begins_a_new_trace(header):
    found = trace_context(header, "a=1")
    assert found.parent_id == ""
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", found.traceparent)
    assert found.metadata == (("traceparent", found.traceparent),)


@pytest.mark.parametrize("state", ["a=é", "a=\x01", "a" * 600])
def test_a_state_that_grpc_cannot_pass_on_is_left_out(state):
    found = trace_context(PARENT, state)
    assert found.trace_id == PARENT.split("-")[1]
    assert [name for name, _ in found.metadata] == ["traceparent"]


def test_a_later_version_of_the_header_is_understood():
    assert trace_context("01" + PARENT[2:] + "-more", None).trace_id == PARENT.split("-")[1]


def test_payloads_are_sampled_with_images_by_hash(config, server, create_gateway, tmp_path):
    path = tmp_path / "payloads.jsonl"
    config = replace(config, payload_log=str(path), payload_share=1.0)
    http = create_gateway(config, server).test_client()
    post(http, **{"X-Request-ID": "abc-2"})
    assert path.stat().st_mode & 0o077 == 0
    http.post("/predict/toy?partial=true", json={"instances": [[[0.5] * 8] * 8, "!"]})
    image, array = map(json.loads, path.read_text().splitlines())
    assert (image["request_id"], image["model"], image["version"]) == ("abc-2", "toy", 1)
    assert image["examples"] == [{"sha256": hashlib.sha256(IMAGE).hexdigest(), "bytes": len(IMAGE)}]
    assert image["answers"][0]["label"] in ("zero", "one", "two", "three")
    assert array["examples"][0]["shape"] == [8, 8]
    assert array["examples"][1]["error"].startswith("instances[1]")


def test_no_file_no_sample(http, server, tmp_path):
    post(http)
    assert not list(tmp_path.iterdir())


def test_spans_of_a_request_and_its_phases(server, config, create_gateway):
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from rockstar_serving.gateway.tracing import Spans

    exporter = export.InMemorySpanExporter()
    spans = Spans(exporter)
    http = create_gateway(config, server, observers=[spans]).test_client()
    post(http, traceparent=PARENT)
    spans.close()
    found = {span.name: span for span in exporter.get_finished_spans()}
    whole = found.pop("POST /predict/<model>")
    assert {"preprocess", "upstream", "postprocess"} <= set(found)
    assert f"{whole.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{whole.parent.span_id:016x}" == PARENT.split("-")[2]
    assert whole.attributes["rockstar.model"] == "toy"
    assert whole.attributes["http.request.method"] == "POST"
    for span in found.values():
        assert span.parent.span_id == whole.context.span_id
        assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time


def test_the_span_has_the_id_that_calls_upstream_carry(server, config, create_gateway):
    export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from rockstar_serving.gateway.observers import Observer
    from rockstar_serving.gateway.tracing import Spans

    contexts: list[RequestContext] = []

    class Remember(Observer):
        def answered(self, context, status):
            contexts.append(context)

    exporter = export.InMemorySpanExporter()
    spans = Spans(exporter)
    post(create_gateway(config, server, observers=[spans, Remember()]).test_client())
    spans.close()
    (whole,) = (s for s in exporter.get_finished_spans() if s.parent is None)
    assert f"{whole.context.span_id:016x}" == contexts[0].trace.span_id
    assert f"{whole.context.trace_id:032x}" == contexts[0].trace.trace_id
