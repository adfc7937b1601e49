"""The projection of the envelopes is what its .proto file says, and agrees with the official messages."""

import ast
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from grpc_tools import protoc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from mirubato.spans import envelope_pb2 as wire
from mirubato.spans.envelope import Envelope, Group
from tests.spans.making import span, traces

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE)
PAIRS = [
    (wire.ItemsRequest.DESCRIPTOR, trace_service_pb2.ExportTraceServiceRequest.DESCRIPTOR),
    (wire.ItemsRequest.DESCRIPTOR, logs_service_pb2.ExportLogsServiceRequest.DESCRIPTOR),
    (wire.ResourceItems.DESCRIPTOR, trace_pb2.ResourceSpans.DESCRIPTOR),
    (wire.ResourceItems.DESCRIPTOR, logs_pb2.ResourceLogs.DESCRIPTOR),
    (wire.ScopeItems.DESCRIPTOR, trace_pb2.ScopeSpans.DESCRIPTOR),
    (wire.ScopeItems.DESCRIPTOR, logs_pb2.ScopeLogs.DESCRIPTOR),
]


def serialized(generated: Path) -> bytes:
    """The file descriptor that generated code registers."""
    calls = [node for node in ast.walk(ast.parse(generated.read_text())) if isinstance(node, ast.Call)]
    (call,) = [one for one in calls if isinstance(one.func, ast.Attribute) and one.func.attr == "AddSerializedFile"]
    descriptor = ast.literal_eval(call.args[0])
    assert isinstance(descriptor, bytes)
    return descriptor


def test_generated_code_is_that_of_the_proto_file(tmp_path: Path) -> None:
    where = [f"--proto_path={ROOT / 'proto'}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    assert protoc.main(["protoc", *where, "envelope.proto"]) == 0
    checked_in = Path(wire.__file__)
    assert serialized(tmp_path / "envelope_pb2.py") == serialized(checked_in)
    assert (tmp_path / "envelope_pb2.pyi").read_text() == checked_in.with_suffix(".pyi").read_text()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_fields_have_the_official_numbers_and_no_text_is_left_out(ours: Descriptor, theirs: Descriptor) -> None:
    official = {field.number: field for field in theirs.fields}
    assert {field.number for field in ours.fields} == official.keys()
    assert all(field.type in LENGTHS and official[field.number].type in LENGTHS for field in ours.fields)


def test_a_resource_that_comes_twice_is_merged_as_protobuf_merges_it() -> None:
    again = traces([], "again").resource_spans[0].resource.SerializeToString()
    body = traces([span()]).resource_spans[0].SerializeToString() + b"\x0a" + _varint(len(again)) + again
    official = trace_pb2.ResourceSpans.FromString(body)
    (found,) = Envelope("x").groups(b"\x0a" + _varint(len(body)) + body)
    assert isinstance(found, Group)
    assert found.resource == official.resource.SerializeToString()


def _varint(number: int) -> bytes:
    return bytes([number & 127 | 128, number >> 7]) if number > 127 else bytes([number])
