"""The projection is what its .proto file says, and that agrees with the official messages field by field."""

import ast
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from grpc_tools import protoc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

from mirubato.otlp import projection_pb2

ROOT = Path(__file__).resolve().parents[2]

_VARINTS = {
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_SINT32,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
}
_LENGTHS = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE}


def serialized(generated: Path) -> bytes:
    """The file descriptor that generated code registers."""
    calls = [node for node in ast.walk(ast.parse(generated.read_text())) if isinstance(node, ast.Call)]
    (call,) = [one for one in calls if isinstance(one.func, ast.Attribute) and one.func.attr == "AddSerializedFile"]
    descriptor = ast.literal_eval(call.args[0])
    assert isinstance(descriptor, bytes)
    return descriptor


def test_generated_code_is_that_of_the_proto_file(tmp_path: Path) -> None:
    where = [f"--proto_path={ROOT / 'proto'}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    assert protoc.main(["protoc", *where, "projection.proto"]) == 0
    checked_in = Path(projection_pb2.__file__)
    assert serialized(tmp_path / "projection_pb2.py") == serialized(checked_in)
    assert projection_pb2.DESCRIPTOR.serialized_pb == serialized(checked_in)
    assert (tmp_path / "projection_pb2.pyi").read_text() == checked_in.with_suffix(".pyi").read_text()


def official(name: str) -> Descriptor:
    """The official message of a projected one."""
    if name == "MetricsRequest":
        return metrics_service_pb2.ExportMetricsServiceRequest.DESCRIPTOR
    found: Descriptor = metrics_pb2.DESCRIPTOR.message_types_by_name[name]
    return found


def pairs() -> list[tuple[Descriptor, Descriptor]]:
    """Every message of the projection beside the official one."""
    top = projection_pb2.DESCRIPTOR.message_types_by_name.items()
    # ResourceEntry stands for the request: its one field is the repeated one's.
    outer = [(ours, official("MetricsRequest" if name == "ResourceEntry" else name)) for name, ours in top]
    both = [(nested, theirs) for ours, theirs in outer for nested in ours.nested_types]
    return outer + [(nested, theirs.nested_types_by_name[nested.name]) for nested, theirs in both]


@pytest.mark.parametrize(("ours", "theirs"), pairs(), ids=lambda descriptor: descriptor.name)
def test_fields_have_the_official_numbers_and_types(ours: Descriptor, theirs: Descriptor) -> None:
    for field in ours.fields:
        same = theirs.fields_by_name[field.name]
        assert field.number == same.number
        assert alike(field, same), field.name
        if not same.is_repeated and same.message_type is None:
            assert field.has_presence == same.has_presence, field.name


def alike(field: FieldDescriptor, same: FieldDescriptor) -> bool:
    """Whether one type reads what the other writes."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return same.type in _LENGTHS and (field.is_repeated or same.type == FieldDescriptor.TYPE_BYTES)
    if {field.type, same.type} == {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM}:
        return True
    return field.type == same.type


@pytest.mark.parametrize(("ours", "theirs"), pairs(), ids=lambda descriptor: descriptor.name)
def test_texts_that_must_be_utf8_are_not_left_out(ours: Descriptor, theirs: Descriptor) -> None:
    # What is read by its layout or its name alone is never judged: every text on the way there must be looked at here.
    if ours.name.endswith(("DataPoint", "Buckets", "ValueAtQuantile")):
        return
    projected = {field.number for field in ours.fields}
    checked = {field.number for field in theirs.fields if field.type in _LENGTHS}
    assert checked <= projected


def test_data_is_one_of_the_same_kinds() -> None:
    ours = {field.name for field in projection_pb2.Metric.DESCRIPTOR.oneofs_by_name["data"].fields}
    assert ours == {field.name for field in metrics_pb2.Metric.DESCRIPTOR.oneofs_by_name["data"].fields}
    assert not _VARINTS & _LENGTHS
