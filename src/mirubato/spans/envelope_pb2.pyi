from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ItemsRequest(_message.Message):
    __slots__ = ("resources",)
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    resources: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, resources: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ResourceItems(_message.Message):
    __slots__ = ("resource", "scopes", "schema_url")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_URL_FIELD_NUMBER: _ClassVar[int]
    resource: _containers.RepeatedScalarFieldContainer[bytes]
    scopes: _containers.RepeatedScalarFieldContainer[bytes]
    schema_url: str
    def __init__(self, resource: _Optional[_Iterable[bytes]] = ..., scopes: _Optional[_Iterable[bytes]] = ..., schema_url: _Optional[str] = ...) -> None: ...

class ScopeItems(_message.Message):
    __slots__ = ("scope", "items", "schema_url")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_URL_FIELD_NUMBER: _ClassVar[int]
    scope: _containers.RepeatedScalarFieldContainer[bytes]
    items: _containers.RepeatedScalarFieldContainer[bytes]
    schema_url: str
    def __init__(self, scope: _Optional[_Iterable[bytes]] = ..., items: _Optional[_Iterable[bytes]] = ..., schema_url: _Optional[str] = ...) -> None: ...
