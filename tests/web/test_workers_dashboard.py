"""All that the dashboard of Workers asks for, the native export of Cloudflare and a probe send."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tests.probes.servers import server, server_context
from tests.support.doors import HTTP
from tests.support.gateways import Running, running
from tests.traces.requests import logs_request
from tests.traces.some import log, now_ms, origin
from tests.web.test_grafana import DEPLOY, unanswered

DASHBOARD = DEPLOY / "dashboards" / "workers.json"
# The spans that one invocation makes beside its root, with the attributes of Cloudflare's documentation.
USES: dict[str, dict[str, Any]] = {
    "d1_all": {"cloudflare.d1.response.rows_read": 40, "cloudflare.d1.response.rows_written": 2},
    "kv_get": {"cloudflare.kv.query.keys.count": 1, "cloudflare.binding.name": "CACHE"},
    "r2_put": {"cloudflare.r2.operation": "put", "cloudflare.r2.bucket": "scores"},
    "queue_send": {"cloudflare.queue.name": "mail", "cloudflare.queue.batch_size": 3},
    "durable_object_storage_exec": {
        "cloudflare.durable_object.response.rows_read": 5,
        "cloudflare.durable_object.response.rows_written": 1,
    },
}


def attributes(given: dict[str, Any]) -> list[KeyValue]:
    return [
        KeyValue(key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value))
        for key, value in given.items()
    ]


def span(name: str, kind: "Span.SpanKind.ValueType", trace: bytes, parent: bytes, **given: Any) -> Span:
    at = time.time_ns()
    return Span(
        trace_id=trace,
        span_id=os.urandom(8),
        parent_span_id=parent,
        name=name,
        kind=kind,
        start_time_unix_nano=at - 20_000_000,
        end_time_unix_nano=at,
        attributes=attributes(given),
    )


def of_service(service: str, spans: list[Span]) -> ResourceSpans:
    who = {
        "service.name": service,
        "cloud.provider": "cloudflare",
        "cloud.platform": "cloudflare.workers",
        "cloudflare.script_name": service,
    }
    scope = ScopeSpans(scope=InstrumentationScope(name="workers-observability"), spans=spans)
    return ResourceSpans(resource=Resource(attributes=attributes(who)), scope_spans=[scope])


def invocation(outcome: str) -> ExportTraceServiceRequest:
    """A Worker's, which calls another one."""
    trace = os.urandom(16)
    end = {"faas.trigger": "http", "cloudflare.outcome": outcome, "cloudflare.cpu_time_ms": 4}
    root = span("fetch", Span.SPAN_KIND_SERVER, trace, b"", **end)
    uses = [span(name, Span.SPAN_KIND_CLIENT, trace, root.span_id, **given) for name, given in USES.items()]
    call = span("service_binding", Span.SPAN_KIND_CLIENT, trace, root.span_id)
    other = span("fetch", Span.SPAN_KIND_SERVER, trace, call.span_id, **end)
    return ExportTraceServiceRequest(
        resource_spans=[of_service("scores", [root, *uses, call]), of_service("sync", [other])]
    )


def send(gateway: Running) -> None:
    for outcome in ("ok", "exception"):
        assert HTTP.export(gateway, "traces", invocation(outcome)).code == 0
    failed = [log("it broke", time_ms=now_ms(), of=origin("scores"))]
    assert HTTP.export(gateway, "logs", logs_request(failed)).code == 0


def test_every_panel_has_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        server(server_context(monkeypatch, tmp_path)) as safe,
        running(tmp_path / "data", probes=(f"scores={safe.url}/",), probe_interval=500) as one,
    ):
        deadline = time.monotonic() + 20
        send(one)
        while missing := unanswered(one, DASHBOARD):
            assert time.monotonic() < deadline, missing
            send(one)
            time.sleep(0.2)
        dashboard = json.loads(DASHBOARD.read_text())
        for variable, label in zip(dashboard["templating"]["list"][1:], ("script_name", "service_name"), strict=True):
            metric = variable["definition"].removeprefix("label_values(").partition(",")[0]
            assert variable["definition"].endswith(f", {label})")
            assert one.api(f"label/{label}/values", **{"match[]": metric})
