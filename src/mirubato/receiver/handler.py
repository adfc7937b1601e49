"""The one handler behind all doors: a framed request in, an outcome after the commit out."""

import asyncio
import logging
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, TypeVarTuple

import cramjam
import zstandard

from mirubato.access.visits import charge
from mirubato.errors import BadRequest, Internal, MirubatoError, TooLarge, Unsupported
from mirubato.limits import REASON_CHARS_MAX, REASONS_MAX
from mirubato.model.seams import Outcome
from mirubato.otlp.json_request import to_protobuf
from mirubato.otlp.signals import Signal
from mirubato.receiver.inbox import Inbox

_log = logging.getLogger(__name__)

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

Append = Callable[[bytes, int], Awaitable[Outcome]]
"""(protobuf bytes of a request, its size) -> what became of it, once it is on disk."""

# Compressed bytes are fed in pieces, so that a bomb is noticed soon: one piece makes at most 1 MiB of gzip (1:1032) or
# 32 MiB of zstd (a block of 128 KiB can be 4 bytes).
_PIECE_BYTES = 1024
# What a zstd body may ask a receiver to hold (RFC 9659).
_ZSTD_WINDOW_BYTES_MAX = 8 << 20


class _Stream(Protocol):
    """What zlib and zstandard have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


_STREAMS: dict[str, Callable[[], _Stream]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX).decompressobj(),
}

# Bodies above this are decoded off the event loop; below, the hand-over costs more than the work (0.1 ms).
_INLINE_BYTES_MAX = 64 * 1024


@dataclass(slots=True)
class Counts:
    """What came in since the start, for the gateway's own metrics."""

    requests: Counter[tuple[str, Signal, str]] = field(default_factory=Counter)
    """By door, signal and result: `ok`, `partial`, or the error's class name."""
    accepted: Counter[Signal] = field(default_factory=Counter)
    rejected: Counter[tuple[Signal, str]] = field(default_factory=Counter)
    """Points, spans and log records by the reason's code."""
    bytes: Counter[Signal] = field(default_factory=Counter)


class Handler:
    """Takes framed requests from the doors."""

    def __init__(
        self, appends: Mapping[Signal, Append], slow_lane: Executor, body_bytes_max: int, inbox: Inbox
    ) -> None:
        self._appends, self._slow_lane = appends, slow_lane
        self.body_bytes_max = body_bytes_max
        self.counts = Counts()
        self.inbox = inbox

    async def export(
        self, door: str, signal: Signal, body: bytes, *, encoding: str = "", json: bool = False
    ) -> Outcome:
        """Inflate, decode and commit one request; MirubatoError for the doors to map to their wire.

        The doors let no body through that is larger than `body_bytes_max` as it came.
        """
        return await self._counted(door, signal, len(body), self._export(signal, body, encoding, json=json))

    async def write(self, append: Append, body: bytes) -> Outcome:
        """The same for one remote write request, which comes as a snappy block and which `append` commits."""
        return await self._counted("remote_write", Signal.METRICS, len(body), self._write(append, body))

    async def _counted(self, door: str, signal: Signal, size: int, answer: Awaitable[Outcome]) -> Outcome:
        self.counts.bytes[signal] += size
        try:
            outcome = await answer
        except MirubatoError as error:
            self.refused(door, signal, size, error)
            raise
        except Exception as error:  # our own mistake must answer too, and be counted
            _log.exception("a request failed")
            defect = Internal("this is a defect of the gateway; its log says more")
            self.refused(door, signal, size, defect)
            raise defect from error
        self.inbox.answered(door, signal, size, outcome)
        self.counts.requests[door, signal, "partial" if outcome.rejected else "ok"] += 1
        self.counts.accepted[signal] += outcome.accepted
        charge(outcome.accepted)
        for rejection in outcome.rejections:
            self.counts.rejected[signal, rejection.reason.code] += rejection.count
        return outcome

    def refused(self, door: str, signal: Signal, size: int, error: MirubatoError) -> None:
        """Count a request that is not taken, and remember why."""
        self.counts.requests[door, signal, type(error).__name__] += 1
        self.inbox.refused(door, signal, size, error)

    async def _export(self, signal: Signal, body: bytes, encoding: str, *, json: bool) -> Outcome:
        if encoding:
            body = await self._slowly(inflate, encoding, body, self.body_bytes_max)
        if not body:
            return Outcome()
        if json:
            body = await self._slowly(to_protobuf, signal, body)
        return await self._appends[signal](body, len(body))

    async def _write(self, append: Append, body: bytes) -> Outcome:
        if snappy_length(body, self.body_bytes_max) <= _INLINE_BYTES_MAX:
            body = unpack_snappy(body)
        else:
            body = await self._slowly(unpack_snappy, body)
        return await append(body, len(body)) if body else Outcome()

    async def _slowly(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """In the slow lane: one thread, so that only one request at a time is blown up to its full size."""
        return await asyncio.get_running_loop().run_in_executor(self._slow_lane, function, *arguments)


def too_large(limit: int) -> TooLarge:
    """The error for a body over the limit, on the wire or inflated."""
    return TooLarge(f"the request is larger than MIRUBATO_MAX_BODY_BYTES={limit}")


def inflate(encoding: str, body: bytes, limit: int) -> bytes:
    """Undo a Content-Encoding, never making much more than `limit` bytes: 200 MB of zeros fit in 194 kB of gzip."""
    make = _STREAMS.get(encoding)
    if make is None:
        raise Unsupported(f"content encoding {encoding[:40]!r} is not one of {', '.join(_STREAMS)}")
    try:
        return _inflated(body, make, limit)
    except (zlib.error, zstandard.ZstdError) as error:
        raise BadRequest(f"not {encoding}: {error}") from error


def snappy_length(body: bytes, limit: int) -> int:
    """How many bytes a snappy block says it will be, before any are made; TooLarge over `limit`."""
    try:
        length = cramjam.snappy.decompress_raw_len(body)
    except cramjam.DecompressionError as error:
        raise BadRequest(str(error)) from error
    if length > limit:
        raise too_large(limit)
    return int(length)


def unpack_snappy(body: bytes) -> bytes:
    """Undo a snappy block, whose `snappy_length` is known to be small enough."""
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise BadRequest(str(error)) from error


def _inflated(body: bytes, make: Callable[[], _Stream], limit: int) -> bytes:
    """Gzip members and zstd frames may follow each other (RFC 1952, 2.2; RFC 8878, 3); the last must be whole."""
    parts, total, stream = [], 0, make()
    for at in range(0, len(body), _PIECE_BYTES):
        piece = body[at : at + _PIECE_BYTES]
        while piece:
            stream = make() if stream.eof else stream
            parts.append(stream.decompress(piece))
            total += len(parts[-1])
            if total > limit:
                raise too_large(limit)
            piece = stream.unused_data
    if not stream.eof:
        raise BadRequest("the compressed body is truncated")
    return b"".join(parts)


def explain(outcome: Outcome) -> str:
    """The error_message of a partial success: reasons with their counts, the most frequent first; empty if none."""
    reasons: Counter[str] = Counter()
    for rejection in outcome.rejections:
        reasons[rejection.reason.text[:REASON_CHARS_MAX]] += rejection.count
    told = [f"{count} rejected: {text}" if count else text for text, count in reasons.most_common(REASONS_MAX)]
    more = len(reasons) - len(told)
    return "; ".join(told + ([f"and {more} more reasons"] if more else []))
