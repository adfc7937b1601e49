"""The generated code is what the .proto file says."""

import ast
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

from mirubato.remote_write import remote_write_pb2

ROOT = Path(__file__).resolve().parents[2]


def serialized(generated: Path) -> bytes:
    """The file descriptor that generated code registers."""
    calls = [node for node in ast.walk(ast.parse(generated.read_text())) if isinstance(node, ast.Call)]
    (call,) = [one for one in calls if isinstance(one.func, ast.Attribute) and one.func.attr == "AddSerializedFile"]
    descriptor = ast.literal_eval(call.args[0])
    assert isinstance(descriptor, bytes)
    return descriptor


def test_generated_code_is_that_of_the_proto_file(tmp_path: Path) -> None:
    where = [f"--proto_path={ROOT / 'proto'}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    assert protoc.main(["protoc", *where, "remote_write.proto"]) == 0
    checked_in = Path(remote_write_pb2.__file__)
    assert serialized(tmp_path / "remote_write_pb2.py") == serialized(checked_in)
    assert remote_write_pb2.DESCRIPTOR.serialized_pb == serialized(checked_in)
    assert (tmp_path / "remote_write_pb2.pyi").read_text() == checked_in.with_suffix(".pyi").read_text()
