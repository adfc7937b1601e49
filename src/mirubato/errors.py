"""The family of errors, drawn once; the doors map it to the wire in one table each.

MirubatoError
├── ConfigError            a setting that cannot be used; exit status 2
├── Refused                a request that must not be sent again as it is
│   ├── BadRequest         undecodable or invalid          HTTP 400, gRPC INVALID_ARGUMENT
│   ├── NotFound           nothing is at this path         HTTP 404, gRPC NOT_FOUND
│   ├── WrongMethod        not the method of this path     HTTP 405, gRPC UNIMPLEMENTED
│   ├── TooLarge           over a size limit               HTTP 413, gRPC RESOURCE_EXHAUSTED
│   └── Unsupported        content type or encoding        HTTP 415, gRPC UNIMPLEMENTED
├── Unavailable            try again later                 HTTP 503, gRPC UNAVAILABLE
│   ├── Overloaded         more is waiting than fits
│   └── StorageFailed      the disk said no
├── Internal               our own mistake                 HTTP 500, gRPC INTERNAL
└── QueryError             a query that has no answer      Prometheus' errorType
    ├── BadQuery           does not parse, bad parameter   400 bad_data
    ├── QueryLimit         touches more than it may        422 execution
    └── QueryTimeout       deadline passed                 503 timeout

A message says what was wrong and names the setting that would change it.
"""


class MirubatoError(Exception):
    """Anything that the world, not we, did wrong."""


class ConfigError(MirubatoError):
    """A setting has a value that cannot be used."""


class Refused(MirubatoError):
    """A request that must not be sent again as it is."""


class BadRequest(Refused):
    """Undecodable or invalid."""


class NotFound(Refused):
    """Nothing is at this path."""


class WrongMethod(Refused):
    """The path is there, but it takes another method."""


class TooLarge(Refused):
    """Over a size limit, before or after inflating."""


class Unsupported(Refused):
    """A content type or encoding that is not spoken here."""


class Unavailable(MirubatoError):
    """The same request may succeed in `retry_after_s` seconds."""

    retry_after_s = 1


class Overloaded(Unavailable):
    """More is waiting than the limits allow."""


class StorageFailed(Unavailable):
    """The database could not commit; nothing of the request was kept."""

    retry_after_s = 2


class Internal(MirubatoError):
    """Our own mistake, told to a client that cannot help it; the log has the trace."""


class QueryError(MirubatoError):
    """A query that has no answer."""


class BadQuery(QueryError):
    """Does not parse, or a parameter is out of range."""


class QueryLimit(QueryError):
    """Touches more series or samples than it may."""


class QueryTimeout(QueryError):
    """The deadline passed."""
