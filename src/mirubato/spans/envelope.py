"""A traces or logs request -> its items as bytes, each with the resource and the scope that it came under."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError

from mirubato.errors import BadRequest
from mirubato.limits import MESSAGE_BYTES_MIN, SMALL_MESSAGES_MAX
from mirubato.spans import envelope_pb2 as wire

Message = TypeVar("Message")


class Group(NamedTuple):
    """The spans or log records of one scope."""

    resource: bytes
    scope: bytes
    items: Sequence[bytes]


class Envelope:
    """Opens requests of one kind, which is named in errors."""

    def __init__(self, name: str) -> None:
        self._name = name

    def groups(self, body: bytes) -> Iterator[Group]:
        """Scope by scope; BadRequest where something is no message, or nearly all of it is empty messages."""
        for encoded in _bounded(self.parsed(wire.ItemsRequest.FromString, body).resources, body):
            resource = self.parsed(wire.ResourceItems.FromString, encoded)
            shared = b"".join(resource.resource)
            for scope_bytes in _bounded(resource.scopes, encoded):
                scope = self.parsed(wire.ScopeItems.FromString, scope_bytes)
                yield Group(shared, b"".join(scope.scope), _bounded(scope.items, scope_bytes))

    def parsed(self, parse: Callable[[bytes], Message], encoded: bytes) -> Message:
        """A message; BadRequest where it is none."""
        try:
            return parse(encoded)
        except DecodeError as error:
            raise BadRequest(f"not an {self._name}: {error}") from error


def _bounded(messages: Sequence[bytes], around: bytes) -> Sequence[bytes]:
    """The same; BadRequest for more messages than could say anything in so many bytes (64 MiB hold 32 million)."""
    if (len(messages) - SMALL_MESSAGES_MAX) * MESSAGE_BYTES_MIN > len(around):
        raise BadRequest(f"{len(messages):,} messages in {len(around):,} bytes: nearly all of them must be empty")
    return messages
