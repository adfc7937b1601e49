"""Who says whether a request is valid: the official classes."""

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from mirubato.errors import BadRequest


def undecodable(error: DecodeError) -> BadRequest:
    """What is answered to bytes that are no metrics request."""
    return BadRequest(f"not an ExportMetricsServiceRequest: {error}")


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
