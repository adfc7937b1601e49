"""The family of errors, drawn once; the doors map it to the wire in one table each.

MirubatoError
├── ConfigError            a setting that cannot be used; exit status 2
├── Refused                a request that must not be sent again as it is
│   ├── BadRequest         undecodable or invalid          HTTP 400, gRPC INVALID_ARGUMENT
│   │   └── BadField       a field of a JSON body          HTTP 400, with the field
│   ├── Unauthenticated    no token, or one not known      HTTP 401, gRPC UNAUTHENTICATED
│   ├── Forbidden          a token without that scope      HTTP 403, gRPC PERMISSION_DENIED
│   ├── NotFound           nothing is at this path         HTTP 404, gRPC NOT_FOUND
│   ├── Conflict           not as things are               HTTP 409
│   ├── WrongMethod        not the method of this path     HTTP 405, gRPC UNIMPLEMENTED
│   ├── TooLarge           over a size limit               HTTP 413, gRPC RESOURCE_EXHAUSTED
│   └── Unsupported        content type or encoding        HTTP 415, gRPC UNIMPLEMENTED
├── Unavailable            try again later                 HTTP 503, gRPC UNAVAILABLE
│   ├── LimitReached       a token's rate or budget        HTTP 429, gRPC RESOURCE_EXHAUSTED
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


def code_of(error: Exception) -> str:
    """The stable code of an error in JSON: `LimitReached` is `limit_reached`."""
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")


class ConfigError(MirubatoError):
    """A setting has a value that cannot be used."""


class Refused(MirubatoError):
    """A request that must not be sent again as it is."""


class BadRequest(Refused):
    """Undecodable or invalid."""


class Unauthenticated(Refused):
    """Nobody said who asks, or with a token that is not known, has expired or was revoked."""


class Forbidden(Refused):
    """Who asks is known, and may not do this."""


class BadField(BadRequest):
    """A field of a JSON body has a value that cannot be used."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class NotFound(Refused):
    """Nothing is at this path."""


class Conflict(Refused):
    """What is there already does not allow it."""


class WrongMethod(Refused):
    """The path is there, but it takes another method."""


class TooLarge(Refused):
    """Over a size limit, before or after inflating."""


class Unsupported(Refused):
    """A content type or encoding that is not spoken here."""


class Unavailable(MirubatoError):
    """The same request may succeed in `retry_after_s` seconds."""

    retry_after_s = 1


class LimitReached(Unavailable):
    """A token has used its rate or its budget; it may send again in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


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
