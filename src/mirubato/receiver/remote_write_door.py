"""Prometheus remote write, versions 1.0 and 2.0, as a plain ASGI application.

Sources: prometheus.io/docs/specs/prw/remote_write_spec and remote_write_spec_2_0; client_golang,
exp/api/remote/remote_api.go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mirubato.errors import MirubatoError, Unsupported, WrongMethod
from mirubato.model.seams import Outcome
from mirubato.otlp.signals import Signal
from mirubato.receiver.framing import (
    ClientGone,
    Header,
    Receive,
    Scope,
    Send,
    encoding_of,
    headers_of,
    read_body,
    reply,
)
from mirubato.receiver.handler import Append, Handler, explain
from mirubato.receiver.replies import PROTOBUF, wire_of

V1, V2 = "prometheus.WriteRequest", "io.prometheus.write.v2.Request"
_TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")


@dataclass(slots=True)
class _Answer:
    """What became of a request, as far as it is known: its message and what was stored of it."""

    message: str = V1
    outcome: Outcome = field(default_factory=Outcome)

    def headers(self) -> list[Header]:
        """Version 2.0 tells a sender how much was written, whatever the status."""
        if self.message != V2:
            return []
        outcome = self.outcome
        written = {
            b"samples": outcome.accepted - outcome.histograms,
            b"histograms": outcome.histograms,
            b"exemplars": outcome.exemplars,
        }
        return [(b"x-prometheus-remote-write-%s-written" % what, b"%d" % count) for what, count in written.items()]


class RemoteWriteDoor:
    """Framing of remote write; `appends` has who commits the requests of each message."""

    def __init__(self, handler: Handler, appends: Mapping[str, Append]) -> None:
        self._handler, self._appends = handler, appends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, for HTTP only."""
        answer = _Answer()
        try:
            await self._write(scope, receive, answer)
        except MirubatoError as error:
            status, text, own = wire_of(error).http, f"{error}\n", [_TEXT, *headers_of(error)]
        except ClientGone:
            return
        else:
            refused = answer.outcome.rejected > 0
            status, text = (400, f"{explain(answer.outcome)}\n") if refused else (204, "")
            own = [_TEXT] if refused else []
        await reply(send, status, text.encode(), [*own, *answer.headers()])

    async def _write(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if scope["method"] != "POST":
            raise WrongMethod("remote write requests are POST")
        headers = dict(scope["headers"])
        try:
            answer.message = self._message(headers.get(b"content-type", b"").decode("latin-1"))
            encoding = encoding_of(headers)
            if encoding not in ("", "snappy"):
                raise Unsupported(f"content encoding {encoding[:40]!r} is not snappy")
            body = await read_body(headers, receive, self._handler.body_bytes_max)
        except MirubatoError as error:
            self._handler.refused("remote_write", Signal.METRICS, 0, error)
            raise
        answer.outcome = await self._handler.write(self._appends[answer.message], body)

    def _message(self, content_type: str) -> str:
        """The message that a Content-Type names; version 1.0 where it names none, as its early senders do."""
        kind, *parameters = [part.strip() for part in content_type.split(";")]
        if kind and kind.lower() != PROTOBUF:
            raise Unsupported(f"content type {kind[:60]!r} is not {PROTOBUF}")
        named = dict(parameter.partition("=")[::2] for parameter in parameters)
        message = named.get("proto", V1).strip('"')
        if message not in self._appends:
            raise Unsupported(f"message {message[:60]!r} is not one of {', '.join(self._appends)}")
        return message
