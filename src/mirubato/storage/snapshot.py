"""What the last sample of each series was, as bytes: with it a restart is no reset for delta streams."""

import numpy as np

from mirubato.model.histogram import Histogram
from mirubato.model.samples import HistogramSample, Int64s
from mirubato.storage import codec
from mirubato.storage.registry import Registry


def encode(registry: Registry) -> bytes:
    """Ids, when they were last seen, and the state of all active series that have samples."""
    state, size = registry.state, len(registry.series)
    slots = np.flatnonzero(registry.ids[:size])
    one = np.array([len(slots)])
    columns = (
        registry.ids[slots],
        registry.seen[slots],
        state.last_time[slots],
        state.last_start[slots],
        state.stale[slots].astype(np.int64),
    )
    histograms = [
        HistogramSample(int(registry.ids[slot]), 0, histogram) for slot, histogram in state.histograms.items()
    ]
    return codec.pack(
        [
            *(codec.encode_whole(column, one) for column in columns),
            codec.encode_values(state.last_value[slots], one),
            codec.encode_histograms(histograms),
            np.array([sample.series for sample in histograms], np.int64).tobytes(),
        ]
    )


class Snapshot:
    """A snapshot read back: columns in the order of `ids`, and native histograms by id."""

    def __init__(self, data: bytes) -> None:
        parts = codec.unpack(data)
        one = np.array([codec.length_of(parts[0])])
        self.ids: Int64s
        self.ids, self.seen, self.last_time, self.last_start, stale = (
            codec.decode_whole(part, one) for part in parts[:5]
        )
        self.stale = stale.astype(np.bool_)
        self.last_value = codec.decode_values(parts[5], one)
        series = np.frombuffer(parts[7], np.int64).tolist()
        samples = codec.decode_histograms(parts[6], series, [0] * len(series))
        self.histograms: dict[int, Histogram] = {sample.series: sample.histogram for sample in samples}

    def restore(self, registry: Registry, slots: Int64s) -> None:
        """Write the state of the series that have a slot; `slots` are those of `ids`, -1 where there is none."""
        state, known = registry.state, slots >= 0
        to = slots[known]
        state.last_time[to], state.last_start[to] = self.last_time[known], self.last_start[known]
        state.last_value[to], state.stale[to] = self.last_value[known], self.stale[known]
        registry.seen[to] = self.seen[known]
        slot_of = dict(zip(self.ids[known].tolist(), to.tolist(), strict=True))
        for id_, histogram in self.histograms.items():
            if id_ in slot_of:
                state.histograms[slot_of[id_]] = histogram
