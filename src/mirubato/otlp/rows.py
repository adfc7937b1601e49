"""The samples of resources that were read point by point, while they grow, and at last as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mirubato.admission.columns import LEAD, Columns
from mirubato.model.samples import Int64s
from mirubato.otlp.judge import Judge
from mirubato.otlp.layouts import Layout, LayoutGroup, LayoutMismatchError


@dataclass(slots=True)
class Rows:
    """Samples in order of arrival: parsed ones in lists, those of a layout together in groups."""

    judge: Judge
    use_layouts: bool = True
    arrived: int = 0
    """Points so far."""
    slots: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    flags: bytearray = field(default_factory=bytearray)
    arrivals: list[int] = field(default_factory=list)
    groups: dict[Layout, LayoutGroup] = field(default_factory=dict)
    signature: list[int] = field(default_factory=list)
    """Hashes of the series of each metric, in order: what a shape is recognised by."""

    def add(self, slot: int, time: int, start: int, value: float, flags: int) -> None:
        """One sample that is a point of its own."""
        self.slots.append(slot)
        self.times.append(time)
        self.starts.append(start)
        self.values.append(value)
        self.flags.append(flags | LEAD)
        self.arrivals.append(self.arrived)
        self.arrived += 1

    def add_group(
        self, slots: Sequence[int], time: int, start: int, values: Sequence[float], flags: Sequence[int]
    ) -> None:
        """The samples of one point that has several (a histogram's buckets, a summary's quantiles)."""
        count = len(slots)
        self.slots += slots
        self.times += [time] * count
        self.starts += [start] * count
        self.values += values
        self.flags += bytes((flags[0] | LEAD, *flags[1:]))
        self.arrivals += [self.arrived] * count
        self.arrived += 1

    def add_known(
        self,
        layout: Layout,
        points: Sequence[bytes],
        keys: Sequence[bytes],
        slots: Sequence[tuple[int, ...]],
        flags: int,
    ) -> None:
        """Points of one layout whose series are known; LayoutMismatchError if one is not what it looked like."""
        group = self.groups.get(layout)
        if group is None:
            group = self.groups[layout] = LayoutGroup(layout)
        group.add(layout.fixed(points, keys), slots, flags, self.arrived)
        self.arrived += len(points)

    def columns(self) -> Columns | None:
        """All samples in order of arrival; LayoutMismatchError as in `add_known`."""
        parts: list[tuple[Columns, Int64s]] = [_read(group) for group in self.groups.values()]
        if self.slots:
            parts.append((self._parsed(), np.array(self.arrivals, np.int64)))
        if len(parts) <= 1:
            return parts[0][0] if parts else None
        order = np.argsort(np.concatenate([arrivals for _, arrivals in parts]), kind="stable")
        return Columns(
            np.concatenate([part.slots for part, _ in parts])[order],
            np.concatenate([part.times for part, _ in parts])[order],
            np.concatenate([part.starts for part, _ in parts])[order],
            np.concatenate([part.values for part, _ in parts])[order],
            np.concatenate([part.flags for part, _ in parts])[order],
        )

    def _parsed(self) -> Columns:
        return Columns(
            np.array(self.slots, np.int64),
            np.array(self.times, np.uint64),
            np.array(self.starts, np.uint64),
            np.array(self.values, np.float64),
            np.frombuffer(bytes(self.flags), np.uint8),
        )


def _read(group: LayoutGroup) -> tuple[Columns, Int64s]:
    """A group's samples, and the number of the point that each belongs to."""
    samples = group.layout.samples
    times, starts, values = group.layout.read(b"".join(group.fixed))
    if len(times) * samples != len(group.slots):
        raise LayoutMismatchError
    arrivals = np.concatenate([np.arange(first, first + count) for first, count in group.arrivals])
    columns = Columns(
        np.array(group.slots, np.int64),
        np.repeat(times, samples),
        np.repeat(starts, samples),
        values.ravel(),
        np.frombuffer(bytes(group.flags), np.uint8),
    )
    return columns, np.repeat(arrivals, samples)
