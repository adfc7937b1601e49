"""The layout: which attribute is in which slot of an event point, with a version, so that positions never drift.

Eight blobs and the first doubles are the same for every layout (FRAME, DOUBLES). A layout names the rest: up to four
`common` attributes, which every metric has at the same place, and up to eight of a metric's own behind them. A metric
that a layout does not name has only the common ones; when it is named later, nothing that was written before moves.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import pairwise, zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mirubato.errors import ConfigError

# blob1 to blob8. `shape` says what the doubles of a histogram are; `rest` is JSON of all that has no slot.
FRAME: Final = ("metric", "layout", "kind", "unit", "service.name", "service.instance.id", "shape", "rest")
SHAPE: Final = FRAME.index("shape")
FURTHER: Final = "+ "  # before the shape of a point that only has further buckets of a histogram
COMMON_MAX: Final = 4  # blob9 to blob12
OWN_MAX: Final = 8  # blob13 to blob20
BLOBS: Final = len(FRAME) + COMMON_MAX + OWN_MAX

EVENT: Final = "event"  # the kind of what `track` writes: no metric, but a row of its own

# double1 ... of each kind; times are milliseconds since 1970. Counters and histograms are deltas: rows to add up.
DOUBLES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "gauge": ("time_ms", "start_ms", "value"),
        "updown": ("time_ms", "start_ms", "value"),
        "counter": ("time_ms", "start_ms", "value"),
        "histogram": ("time_ms", "start_ms", "count", "sum"),  # then one double for each bound in `shape`
        "exponential": ("time_ms", "start_ms", "count", "sum", "zero_count"),  # then one for each bucket in `shape`
        EVENT: ("time_ms", "weight"),  # of `track`: 1 / its sample; then one for each key in `shape`
    }
)

_KEYS: Final = {"name", "version", "common", "index", "metrics"}
_METRIC_KEYS: Final = {"blobs", "index", "bounds"}


@dataclass(frozen=True)
class MetricSlots:
    """What a layout says of one metric: its own blobs ("" is a slot out of use), the parts of its index, its bounds."""

    blobs: tuple[str, ...] = ()
    index: tuple[str, ...] | None = None
    bounds: tuple[float, ...] = ()


_UNNAMED: Final = MetricSlots()


@dataclass(frozen=True)
class Layout:
    """A layout as its file has it; `parse` makes one, `load_layout` reads one."""

    name: str
    version: int
    common: tuple[str, ...] = ()
    index: tuple[str, ...] = ("service.name", "metric")
    metrics: Mapping[str, MetricSlots] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """What blob2 says: `name/version`."""
        return f"{self.name}/{self.version}"

    def slots(self, metric: str) -> tuple[str, ...]:
        """The attribute in each of blob9 to blob20 of this metric; "" for none."""
        own = self.metrics.get(metric, _UNNAMED).blobs
        if not own:
            return self.common
        return self.common + ("",) * (COMMON_MAX - len(self.common)) + own

    def index_parts(self, metric: str) -> tuple[str, ...]:
        """Names of what the index of this metric is made of: frame names or attributes."""
        return self.metrics.get(metric, _UNNAMED).index or self.index

    def bounds(self, metric: str) -> tuple[float, ...]:
        """The bounds of its histogram as the layout knows them; empty where it does not."""
        return self.metrics.get(metric, _UNNAMED).bounds

    def blob(self, metric: str, name: str) -> int | None:
        """The number of the blob (1 to 20) that has this frame name or attribute; None if it has no slot."""
        if name in FRAME:
            return FRAME.index(name) + 1
        slots = self.slots(metric)
        return len(FRAME) + slots.index(name) + 1 if name and name in slots else None


def parse(text: str) -> Layout:
    """A layout from its TOML; ConfigError for one that no event point could follow."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"layout: {error}") from error
    _only(_KEYS, table, "layout")
    name, version = table.get("name"), table.get("version")
    if not isinstance(name, str) or not name or "/" in name:
        raise ConfigError("layout: `name` is a text without a slash")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError("layout: `version` is a whole number from 1 on")
    layout = Layout(
        name,
        version,
        _names(table.get("common", []), "common", COMMON_MAX),
        _names(table.get("index", ["service.name", "metric"]), "index", BLOBS),
        {metric: _metric(metric, entry) for metric, entry in _table(table.get("metrics", {}), "metrics").items()},
    )
    _no_name_twice(layout)
    return layout


def _metric(metric: str, entry: object) -> MetricSlots:
    where = f'metrics."{metric}"'
    table = _table(entry, where)
    _only(_METRIC_KEYS, table, where)
    bounds = table.get("bounds", [])
    if not isinstance(bounds, list) or not all(isinstance(bound, int | float) for bound in bounds):
        raise ConfigError(f"layout: {where}.bounds is a list of numbers")
    if any(low >= high for low, high in pairwise(bounds)):
        raise ConfigError(f"layout: {where}.bounds do not rise")
    return MetricSlots(
        _names(table.get("blobs", []), f"{where}.blobs", OWN_MAX),
        _names(table["index"], f"{where}.index", BLOBS) if "index" in table else None,
        tuple(map(float, bounds)),
    )


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"layout: {where} is a table")
    return value


def _only(known: set[str], table: Mapping[str, object], where: str) -> None:
    if unknown := sorted(table.keys() - known):
        raise ConfigError(f"layout: {where} has unknown keys: {', '.join(unknown)}")


def _names(value: object, where: str, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"layout: {where} is a list of names")
    if len(value) > most:
        raise ConfigError(f"layout: {where} has {len(value)} names, {most} fit")
    return tuple(value)


def _no_name_twice(layout: Layout) -> None:
    for metric in ("", *layout.metrics):
        seen = [name for name in layout.slots(metric) if name]
        twice = sorted({name for name in seen if seen.count(name) > 1} | ({*seen} & {*FRAME}))
        if twice:
            where = f'metrics."{metric}"' if metric else "common"
            raise ConfigError(f"layout: {where} has two places for {', '.join(twice)}")


@cache
def default_layout() -> Layout:
    """The one in the package."""
    return parse(resources.files(__package__).joinpath("layout.toml").read_text(encoding="utf-8"))


def load_layout(path: Path) -> Layout:
    """The layout in a file; ConfigError if it cannot be used."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"layout: {path}: {error}") from error
    return parse(text)


def drift(old: Layout, new: Layout) -> list[str]:
    """What would make rows of `old` lie when they are read by `new`, one sentence each; empty if nothing does.

    Names may be added behind the last one of a list, and a slot may be put out of use (""). Everything else is drift:
    a name that moved or changed, a slot that was out of use and is given away, a metric that lost its slots. So is
    any change without a higher version.
    """
    found = list(_version_drift(old, new))
    found += _list_drift("common", old.common, new.common, first=len(FRAME) + 1)
    for metric, before in old.metrics.items():
        after = new.metrics.get(metric, _UNNAMED)
        found += _list_drift(metric, before.blobs, after.blobs, first=len(FRAME) + COMMON_MAX + 1)
    return found


def _version_drift(old: Layout, new: Layout) -> Iterator[str]:
    if old.name != new.name:
        yield f"the layout {old.name} is now called {new.name}"
    elif new.version < old.version:
        yield f"the version went back from {old.version} to {new.version}"
    elif new.version == old.version and old != new:
        yield f"the content changed, the version is still {new.version}"


def _list_drift(where: str, old: tuple[str, ...], new: tuple[str, ...], first: int) -> Iterator[str]:
    for number, (before, after) in enumerate(zip_longest(old, new), start=first):
        if before is None or after in {before, ""}:
            continue
        was = f"was {before}" if before else "was out of use"
        yield f"{where}: blob{number} {was}, is {after or 'gone; put it out of use with an empty name instead'}"
