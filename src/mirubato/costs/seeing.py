"""How much of each meter's days was seen, by which source, and what is missing. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from mirubato.costs.datasets import DATASET_OF, DATASETS, Dataset
from mirubato.costs.ledger import Coverage
from mirubato.costs.periods import DAY_MS, HOUR_MS, day_of
from mirubato.costs.prices import Meter
from mirubato.costs.usage import Source

# An hour counts as seen from here on: a gateway that restarts loses a minute of it.
_WHOLE = 0.9
# Cloudflare's analytics are some minutes late; younger hours are not missed yet.
_LATE_MS = 2 * HOUR_MS
_MISSING_MAX = 50


@dataclass(frozen=True, slots=True)
class Missing:
    """What is not known, from when to when (ms, or None), and what that means for the numbers."""

    what: str
    effect: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Coverage by hour: of telemetry, and of each dataset; 0 to 1."""

    telemetry: Mapping[int, float]
    datasets: Mapping[str, Mapping[int, float]]
    notes: Mapping[tuple[str, int], str]

    def hour(self, meter: Meter, hour: int) -> float:
        """How much of an hour of a meter is known, by whichever source."""
        told = self.datasets.get(DATASET_OF.get(meter, ""), {}).get(hour, 0.0)
        return max(told, self.telemetry.get(hour, 0.0))

    def note(self, dataset: str, hour: int) -> str:
        """Why a dataset does not tell of an hour: what was written down of it, or of the last one before it."""
        earlier = [at for node, at in self.notes if node == dataset and at <= hour]
        return self.notes[dataset, max(earlier)] if earlier else "not told yet"

    def days(self, meter: Meter, start: int, end: int) -> dict[date, float]:
        """The part of each UTC day that is known, from `start` to before `end` (ms, midnights)."""
        found = {}
        for at in range(start, end, DAY_MS):
            part = sum(self.hour(meter, hour) for hour in range(at, at + DAY_MS, HOUR_MS)) / 24
            if part:
                found[day_of(at)] = min(1.0, part)
        return found


_BY_DAY = {dataset.node for dataset in DATASETS if dataset.by_day}


def seen_of(coverage: Iterable[Coverage]) -> Seen:
    """Of what is in the ledger; a dataset that tells of days has seen each hour of them."""
    telemetry: dict[int, float] = {}
    datasets: dict[str, dict[int, float]] = {}
    notes: dict[tuple[str, int], str] = {}
    for one in coverage:
        hours = range(one.hour, one.hour + DAY_MS, HOUR_MS) if one.dataset in _BY_DAY else (one.hour,)
        of = telemetry if one.source is Source.METERED else datasets.setdefault(one.dataset, {})
        for hour in hours:
            of[hour] = max(of.get(hour, 0.0), one.seen)
            if one.note:
                notes[one.dataset, hour] = one.note
    return Seen(telemetry, datasets, notes)


def missing(
    seen: Seen, start: int, end: int, now: int, datasets: Sequence[Dataset], metered: Collection[Meter]
) -> list[Missing]:
    """Stretches of a period that nobody saw. `datasets` are asked for with a token; `metered` is counted here."""
    found = [
        one for dataset in datasets for one in _of_dataset(seen, dataset, start, min(end, now - _LATE_MS), metered)
    ]
    hours = range(start, min(end, now // HOUR_MS * HOUR_MS), HOUR_MS)
    effect = (
        "event points and spans of this time are not counted"
        if datasets
        else "nothing is counted for this time; the projection estimates it and is wider for it"
    )
    for begin, until in runs(hour for hour in hours if seen.telemetry.get(hour, 0.0) < _WHOLE):
        found.append(Missing("telemetry: the gateway was not there, or nothing came", effect, begin, until))
    return found[:_MISSING_MAX]


def _of_dataset(seen: Seen, dataset: Dataset, start: int, end: int, metered: Collection[Meter]) -> Iterable[Missing]:
    told = seen.datasets.get(dataset.node, {})
    for begin, until in runs(hour for hour in range(start, end, HOUR_MS) if told.get(hour, 0.0) < _WHOLE):
        note = seen.note(dataset.node, begin)
        stands_in = all(
            meter in metered and seen.telemetry.get(hour, 0.0) >= _WHOLE
            for meter in dataset.meters
            for hour in range(begin, until, HOUR_MS)
        )
        effect = (
            "what was metered stands in for it" if stands_in else "what was not metered is estimated in the projection"
        )
        yield Missing(f"{dataset.node}: {note}", effect, begin, until)


def runs(hours: Iterable[int], step: int = HOUR_MS) -> Iterable[tuple[int, int]]:
    """Hours (or days) that follow each other as stretches."""
    begin = until = None
    for hour in hours:
        if until != hour:
            if begin is not None and until is not None:
                yield begin, until
            begin = hour
        until = hour + step
    if begin is not None and until is not None:
        yield begin, until


def iso(time_ms: int | None) -> str | None:
    """A moment in ISO 8601, UTC."""
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
