"""The event point, and what Analytics Engine takes of it: a dated table (limits.toml) and the check against it."""

import hashlib
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources

_DIGEST_BYTES = 8  # 64 bits: among a million indexes two are alike with a chance of 3e-8
_MARK = "~"  # between what is left of an index and its hash


@dataclass(frozen=True, slots=True)
class EventPoint:
    """One Analytics Engine data point.

    `blobs` and `doubles` are positional; a blob of None leaves its slot empty. `timestamp_ms` and `sample_interval`
    are for stores that take them: Analytics Engine sets its own, so a layout also keeps the time in a double.
    """

    timestamp_ms: int
    index: str
    blobs: tuple[str | None, ...]
    doubles: tuple[float, ...]
    sample_interval: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """One row of the table: bytes are UTF-8, `blob_bytes` is for all blobs of a point together."""

    since: date
    blobs: int
    doubles: int
    indexes: int
    index_bytes: int
    blob_bytes: int
    points_per_invocation: int
    source: str


@cache
def limits_table() -> tuple[Limits, ...]:
    """All rows, oldest first."""
    text = resources.files(__package__).joinpath("limits.toml").read_text(encoding="utf-8")
    return tuple(Limits(**row) for row in tomllib.loads(text)["limits"])


def current_limits() -> Limits:
    """The newest row."""
    return limits_table()[-1]


def problem(point: EventPoint, limits: Limits) -> str | None:
    """Why Analytics Engine would lose this point, as `limit: how far past it`; None if it takes it.

    A double that is not finite is a problem too: JSON has no word for it, and what a sum over it is worth is nothing.
    """
    try:
        return _too_many(point, limits) or _too_large(point, limits)
    except UnicodeEncodeError:
        return "text: half of a surrogate pair has no UTF-8"


def _too_many(point: EventPoint, limits: Limits) -> str | None:
    if len(point.blobs) > limits.blobs:
        return f"blobs: {len(point.blobs)} are more than {limits.blobs}"
    if len(point.doubles) > limits.doubles:
        return f"doubles: {len(point.doubles)} are more than {limits.doubles}"
    if not all(map(math.isfinite, point.doubles)):
        return "doubles: one is NaN or infinite"
    return None


def _too_large(point: EventPoint, limits: Limits) -> str | None:
    index_bytes = len(point.index.encode())
    if index_bytes > limits.index_bytes:
        return f"index_bytes: {index_bytes} are more than {limits.index_bytes}"
    blob_bytes = blobs_size(point.blobs)
    if blob_bytes > limits.blob_bytes:
        return f"blob_bytes: {blob_bytes} are more than {limits.blob_bytes}"
    return None


def blobs_size(blobs: Iterable[str | None]) -> int:
    """Bytes of all blobs together in UTF-8."""
    return sum(len(blob.encode()) for blob in blobs if blob)


def compound_index(parts: Sequence[str], limits: Limits) -> str:
    """The parts joined with `|`: different parts make different indexes, and the result is in the limit.

    `|` and `\\` inside a part get a `\\`. One that is too long is cut on a character boundary and ends in `~` and 16
    hexadecimal digits of the hash of the whole (BLAKE2b).
    """
    whole = "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)
    data = whole.encode()
    if len(data) <= limits.index_bytes:
        return whole
    ending = _MARK + hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()
    return cut(whole, limits.index_bytes - len(ending)) + ending


def cut(text: str, size: int) -> str:
    """The longest beginning of `text` that has at most `size` bytes in UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def clean(text: str) -> str:
    """The text without halves of surrogate pairs, which have no UTF-8: each becomes a `?`."""
    return text if text.isascii() else text.encode(errors="replace").decode()
