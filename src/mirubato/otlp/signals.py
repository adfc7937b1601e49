"""The three signals of OTLP: their requests, and the official answers."""

from enum import StrEnum

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Request = ExportMetricsServiceRequest | ExportTraceServiceRequest | ExportLogsServiceRequest
Response = ExportMetricsServiceResponse | ExportTraceServiceResponse | ExportLogsServiceResponse


class Signal(StrEnum):
    """The three signals of OTLP, as they stand in the paths."""

    METRICS = "metrics"
    TRACES = "traces"
    LOGS = "logs"


REQUESTS: dict[Signal, type[Request]] = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}


def response(signal: Signal, rejected: int, message: str) -> Response:
    """The official answer; `partial_success` is set only where there is something to say (OTLP specification)."""
    match signal:
        case Signal.METRICS:
            metrics = ExportMetricsServiceResponse()
            if rejected or message:
                metrics.partial_success.rejected_data_points = rejected
                metrics.partial_success.error_message = message
            return metrics
        case Signal.TRACES:
            traces = ExportTraceServiceResponse()
            if rejected or message:
                traces.partial_success.rejected_spans = rejected
                traces.partial_success.error_message = message
            return traces
        case Signal.LOGS:
            logs = ExportLogsServiceResponse()
            if rejected or message:
                logs.partial_success.rejected_log_records = rejected
                logs.partial_success.error_message = message
            return logs
