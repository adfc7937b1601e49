"""Where a series stands between 0 and 1, by the hash of its labels: the same in every query and on every server."""

from collections.abc import Sequence

import numpy as np
import xxhash

from mirubato.model.labels import Labels
from mirubato.model.samples import Float64s

# Longer strings have their length in three bytes after this one (prometheus, model/labels/labels_stringlabels.go).
_SHORT_MAX = 255


def ratio_offsets(labels: Sequence[Labels]) -> Float64s:
    """One number for each series, as Prometheus' `limit_ratio` takes it."""
    hashes = [xxhash.xxh64_intdigest(b"".join(_encoded(text) for pair in one for text in pair)) for one in labels]
    return np.array(hashes, np.uint64).astype(np.float64) / 2.0**64


def _encoded(text: str) -> bytes:
    data = text.encode()
    if len(data) < _SHORT_MAX:
        return bytes([len(data)]) + data
    return bytes([_SHORT_MAX]) + len(data).to_bytes(3, "little") + data
