"""Traces and logs requests of some spans and logs, as they come in at a door."""

from collections.abc import Iterable

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from mirubato.model.logs import Log
from mirubato.model.spans import Span


def traces_request(spans: Iterable[Span]) -> ExportTraceServiceRequest:
    """Each span under its own resource."""
    return ExportTraceServiceRequest(
        resource_spans=[
            trace_pb2.ResourceSpans(
                resource=Resource.FromString(one.origin.resource),
                scope_spans=[
                    trace_pb2.ScopeSpans(
                        scope=InstrumentationScope.FromString(one.origin.scope),
                        spans=[trace_pb2.Span.FromString(one.message)],
                    )
                ],
            )
            for one in spans
        ]
    )


def logs_request(logs: Iterable[Log]) -> ExportLogsServiceRequest:
    """The same for logs."""
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=Resource.FromString(one.origin.resource),
                scope_logs=[
                    ScopeLogs(
                        scope=InstrumentationScope.FromString(one.origin.scope),
                        log_records=[LogRecord.FromString(one.message)],
                    )
                ],
            )
            for one in logs
        ]
    )
