"""Who says whether a request is valid: the official classes."""

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from mirubato.errors import BadRequest
from mirubato.limits import MESSAGE_BYTES_MIN, SMALL_MESSAGES_MAX


def undecodable(error: DecodeError) -> BadRequest:
    """What is answered to bytes that are no metrics request."""
    return BadRequest(f"not an ExportMetricsServiceRequest: {error}")


def check_sizes(messages: int, size: int) -> None:
    """BadRequest for more messages than could say anything in so many bytes.

    A point with a time and a value takes 20 bytes. A request of 8 MiB that was nothing but empty messages took the
    writer 17 s and 780 MB.
    """
    if (messages - SMALL_MESSAGES_MAX) * MESSAGE_BYTES_MIN > size:
        raise BadRequest(
            f"{messages:,} messages in {size:,} bytes: nearly all of them must be empty, and no SDK sends such"
        )


class Judge:
    """Decodes a request with the official classes, once, when something in it has not been seen before.

    They check what the projection leaves as bytes: nested messages, UTF-8, depth. Bytes that were seen in a valid
    request are valid again, so only requests with something new pay (0.25 us a point), and they pay before anything of
    them has touched the registry.
    """

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    def __call__(self) -> None:
        """BadRequest unless the request is valid."""
        if self._body is None:
            return
        try:
            ExportMetricsServiceRequest.FromString(self._body)
        except DecodeError as error:
            raise undecodable(error) from error
        self._body = None
