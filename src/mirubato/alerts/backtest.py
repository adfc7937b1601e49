"""What a rule would have done: its query over the past, through the same state machine that pages people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mirubato.alerts.intervals import Sampled, sampled_of
from mirubato.alerts.rules import Measured, NoData, Rule, judged
from mirubato.alerts.step import NEW, Clocks, Seen, step
from mirubato.limits import STEPS_MAX
from mirubato.model.labels import Labels
from mirubato.model.seams import Samples
from mirubato.promql.literals import duration_text
from mirubato.promql.query import QueryBudget, over_steps
from mirubato.promql.values import Points, Steps

SHORT_MS = 300_000
"""An alert that is over in less time than this has hardly been looked at."""

_FOR_MS = (60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000)
_EPISODES_SHOWN = 100
# A `for` is worth telling of where it leaves no more than this share of the alerts.
_WORTH = 1 / 3


class Episode(NamedTuple):
    """One time that an alert fired: when (ms), until when (None: it still does), of which series."""

    labels: Labels
    start_ms: int
    end_ms: int | None

    def short(self) -> bool:
        """Whether it was over within SHORT_MS."""
        return self.end_ms is not None and self.end_ms - self.start_ms < SHORT_MS


@dataclass(frozen=True, slots=True)
class Tried:
    """How often a rule would have fired with a certain `for` (ms), and how often only shortly."""

    for_ms: int
    fired: int
    short: int


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a rule would have done over `steps`."""

    range_ms: int
    """The time asked for; `steps` are those that fit."""
    steps: Steps
    tried: Tried
    longer: Sequence[Tried]
    """With longer `for`s than its own, the shortest first."""
    episodes: Sequence[Episode]
    series: int
    """How many series its query found."""

    def better(self) -> Tried | None:
        """The shortest `for` that would have made the rule much quieter, if it fired more than once."""
        most = max(1, int(self.tried.fired * _WORTH))
        return next((one for one in self.longer if one.fired <= most), None) if self.tried.fired > 1 else None

    def sentence(self) -> str:
        """For people: how often, how often shortly, and what a longer `for` would change."""
        fired, short = self.tried.fired, self.tried.short
        did = f"would have fired {_times(fired)}" if fired else "would never have fired"
        text = f"{did} in the last {_long(duration_text(self.range_ms))}"
        if short:
            text += f", {short} of them for under {duration_text(SHORT_MS).removesuffix('m')} minutes"
        better = self.better()
        return f"{text}; with `for: {duration_text(better.for_ms)}` {_times(better.fired)}" if better else text

    def answer(self) -> dict[str, Any]:
        """As JSON of the API; times in seconds since 1970."""
        better = self.better()
        return {
            "fired": self.tried.fired,
            "under_5_minutes": self.tried.short,
            "sentence": self.sentence(),
            "series": self.series,
            "start": self.steps.start / 1000,
            "end": self.steps.end / 1000,
            "step": self.steps.step / 1000,
            "with_for": [
                {"for": duration_text(one.for_ms), "fired": one.fired, "under_5_minutes": one.short}
                for one in self.longer
            ],
            "suggestion": {"for": duration_text(better.for_ms)} if better else None,
            "episodes": [
                {
                    "labels": dict(one.labels),
                    "start": one.start_ms / 1000,
                    "end": None if one.end_ms is None else one.end_ms / 1000,
                }
                for one in self.episodes[:_EPISODES_SHOWN]
            ],
        }


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _long(span: str) -> str:
    """`7d` -> `7 days`; others as they are."""
    number = span.removesuffix("d").removesuffix("w")
    if not number.isdecimal():
        return span
    days = int(number) * (7 if span.endswith("w") else 1)
    return f"{days} days" if days != 1 else "day"


class Past(NamedTuple):
    """How far back from `now_ms` a rule is tried out, and how often it would have been evaluated; ms."""

    range_ms: int
    interval_ms: int
    now_ms: int

    def steps(self) -> Steps:
        """The times to look at: as often as the rule is evaluated, or as often as one query may."""
        least = -(-self.range_ms // (STEPS_MAX - 1))
        step = max(1, -(-least // self.interval_ms)) * self.interval_ms
        end = self.now_ms // step * step
        return Steps(end - self.range_ms // step * step, end, step)


def backtest(rule: Rule, selector: Samples, past: Past, budget: QueryBudget) -> Backtest:
    """Run a rule over the past; errors as for any query."""
    steps = past.steps()
    found = over_steps(selector, rule.query, steps, budget).series
    sampled = _sampled(rule, selector, steps, budget)
    lines = [(one.labels, _seen(rule, one, sampled)) for one in found]
    lines = [(labels, seen) for labels, seen in lines if Seen.ACTIVE in seen.values() or rule.no_data is NoData.ALERT]
    times = steps.times().tolist()
    episodes = _episodes(rule, lines, times, rule.for_ms)
    longer = [_tried(_episodes(rule, lines, times, for_ms), for_ms) for for_ms in _FOR_MS if for_ms > rule.for_ms]
    return Backtest(past.range_ms, steps, _tried(episodes, rule.for_ms), longer, episodes, len(found))


def _tried(episodes: Sequence[Episode], for_ms: int) -> Tried:
    return Tried(for_ms, len(episodes), sum(one.short() for one in episodes))


def _sampled(
    rule: Rule, selector: Samples, steps: Steps, budget: QueryBudget
) -> Mapping[int, Mapping[Labels, Sampled]]:
    """By time."""
    if not (rule.sampling and rule.use_interval):
        return {}
    found: dict[int, list[tuple[Labels, float]]] = {}
    for one in over_steps(selector, rule.sampling, steps, budget).series:
        for time, value in zip(one.times, one.values, strict=True):
            found.setdefault(time, []).append((one.labels, value))
    return {time: sampled_of(some) for time, some in found.items()}


def _seen(rule: Rule, one: Points, sampled: Mapping[int, Mapping[Labels, Sampled]]) -> dict[int, Seen]:
    """What each evaluation that found the series would have said of it."""
    seen = {}
    for time, value in zip(one.times, one.values, strict=True):
        active = rule.condition is None or rule.condition.holds(value, rule.threshold)
        if active and time in sampled:
            active = judged(rule, Measured(one.labels, value, active), sampled[time].get(one.labels)).active
        seen[time] = Seen.ACTIVE if active else Seen.CLEAR
    return seen


def _episodes(
    rule: Rule, lines: Iterable[tuple[Labels, Mapping[int, Seen]]], times: Sequence[int], for_ms: int
) -> list[Episode]:
    clocks, nothing = Clocks(for_ms, rule.keep_firing_for_ms), _nothing(rule)
    found: list[Episode] = []
    for labels, seen in lines:
        state, start = NEW, None
        for time in _from_first(times, seen):
            what = seen.get(time, nothing)
            if what is Seen.CLEAR and state is NEW:
                continue
            state, change = step(state, what, clocks, time)
            if change is None or change.before.fires == change.after.fires:
                continue
            if change.after.fires:
                start = time
            elif start is not None:
                found.append(Episode(labels, start, time))
                start = None
        if start is not None:
            found.append(Episode(labels, start, None))
    return sorted(found, key=_start)


def _from_first(times: Sequence[int], seen: Mapping[int, Seen]) -> Sequence[int]:
    """A series that nobody has heard of yet cannot be missed."""
    first = next(iter(seen), None)
    return [] if first is None else times[times.index(first) :]


def _nothing(rule: Rule) -> Seen:
    if rule.condition is None:
        return Seen.CLEAR
    return {NoData.OK: Seen.CLEAR, NoData.KEEP: Seen.NOTHING_KEEP, NoData.ALERT: Seen.NOTHING_ALERT}[rule.no_data]


def _start(episode: Episode) -> int:
    return episode.start_ms
