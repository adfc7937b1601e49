"""Errors and outcomes on the wire: one table for HTTP status, gRPC status, and whether to try again."""

from dataclasses import dataclass

import grpc
import orjson
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from mirubato.errors import (
    BadRequest,
    Forbidden,
    LimitReached,
    MirubatoError,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
    WrongMethod,
)
from mirubato.model.seams import Outcome
from mirubato.otlp.signals import Signal, response
from mirubato.receiver.handler import explain

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Wire:
    """How a class of errors looks on both doors."""

    http: int
    grpc: grpc.StatusCode


# The first row that fits counts. Retryable rows are 503 / UNAVAILABLE with a delay of 1-2 s: the Python exporter drops
# a batch at once when told to wait longer than the rest of its 10 s.
_WIRE: tuple[tuple[type[MirubatoError], Wire], ...] = (
    (Unauthenticated, Wire(401, grpc.StatusCode.UNAUTHENTICATED)),
    (Forbidden, Wire(403, grpc.StatusCode.PERMISSION_DENIED)),
    (NotFound, Wire(404, grpc.StatusCode.NOT_FOUND)),
    (WrongMethod, Wire(405, grpc.StatusCode.UNIMPLEMENTED)),
    (TooLarge, Wire(413, grpc.StatusCode.RESOURCE_EXHAUSTED)),
    (Unsupported, Wire(415, grpc.StatusCode.UNIMPLEMENTED)),
    (BadRequest, Wire(400, grpc.StatusCode.INVALID_ARGUMENT)),
    (LimitReached, Wire(429, grpc.StatusCode.RESOURCE_EXHAUSTED)),
    (Unavailable, Wire(503, grpc.StatusCode.UNAVAILABLE)),
    (MirubatoError, Wire(500, grpc.StatusCode.INTERNAL)),
)


def wire_of(error: MirubatoError) -> Wire:
    """The row of an error."""
    return next(wire for kind, wire in _WIRE if isinstance(error, kind))


def retry_info(error: MirubatoError) -> RetryInfo | None:
    """When to try again, for errors that pass."""
    if not isinstance(error, Unavailable):
        return None
    return RetryInfo(retry_delay=Duration(seconds=error.retry_after_s))


def status(error: MirubatoError) -> Status:
    """google.rpc.Status of an error, with RetryInfo among its details where there is one."""
    code, _ = wire_of(error).grpc.value
    details = []
    retry = retry_info(error)
    if retry is not None:
        packed = Any()
        packed.Pack(retry)
        details.append(packed)
    return Status(code=code, message=str(error), details=details)


def error_body(error: MirubatoError, content_type: str) -> bytes:
    """google.rpc.Status in the encoding of the request (OTLP specification, "Failures")."""
    if content_type != JSON:
        return bytes(status(error).SerializeToString())
    document: dict[str, object] = {"code": wire_of(error).grpc.value[0], "message": str(error)}
    if isinstance(error, Unavailable):
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        document["details"] = [{"@type": kind, "retryDelay": f"{error.retry_after_s}s"}]
    return orjson.dumps(document)


def success_body(signal: Signal, outcome: Outcome, content_type: str) -> bytes:
    """Full success (nothing set) or partial success (exact count and reasons)."""
    rejected, message = outcome.rejected, explain(outcome)
    if content_type != JSON:
        return response(signal, rejected, message).SerializeToString() if rejected or message else b""
    if not rejected and not message:
        return b"{}"
    name = {Signal.METRICS: "rejectedDataPoints", Signal.TRACES: "rejectedSpans", Signal.LOGS: "rejectedLogRecords"}
    # 64-bit numbers are strings in OTLP/JSON.
    return orjson.dumps({"partialSuccess": {name[signal]: str(rejected), "errorMessage": message}})
