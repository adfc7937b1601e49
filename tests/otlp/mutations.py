"""Bytes that are nearly a request: cut off, flipped, doubled, moved."""

from collections.abc import Callable

from hypothesis import strategies as st


def _flip(data: bytes, at: int, _end: int, byte: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (byte or 1)]) + data[at + 1 :] if at < len(data) else data


def _set(data: bytes, at: int, _end: int, byte: int) -> bytes:
    return data[:at] + bytes([byte]) + data[at + 1 :]


def _insert(data: bytes, at: int, _end: int, byte: int) -> bytes:
    return data[:at] + bytes([byte]) + data[at:]


def _delete(data: bytes, at: int, end: int, _byte: int) -> bytes:
    return data[:at] + data[end:]


def _double(data: bytes, at: int, end: int, _byte: int) -> bytes:
    return data[:end] + data[at:end] + data[end:]


def _cut(data: bytes, at: int, _end: int, _byte: int) -> bytes:
    return data[:at]


def _swap(data: bytes, at: int, end: int, _byte: int) -> bytes:
    middle = (at + end) // 2
    return data[:at] + data[middle:end] + data[at:middle] + data[end:]


_MUTATIONS: list[Callable[[bytes, int, int, int], bytes]] = [_flip, _set, _insert, _delete, _double, _cut, _swap]

# Bytes that mean something in the wire format: tags, lengths, the ends of numbers.
_BYTES = st.integers(0, 255) | st.sampled_from([0, 1, 2, 0x0A, 0x12, 0x0B, 0x0C, 0x7F, 0x80, 0xFF])


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with one to three changes."""
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(1, 24)))
        data = draw(st.sampled_from(_MUTATIONS))(data, at, end, draw(_BYTES))
    return data
