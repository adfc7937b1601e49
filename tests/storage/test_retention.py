"""Retention: what goes when, what stands for it, what queries across the borders say, and what room there is."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from math import sin
from pathlib import Path

import pytest

from mirubato.database.state import StateStore
from mirubato.errors import QueryError, StorageFailed
from mirubato.limits import RAW_MS_MIN
from mirubato.model.histogram import Buckets, Histogram
from mirubato.model.labels import STALE_NAN, Family, Labels, MetricType
from mirubato.model.rollups import DAY_MS, HOUR_MS
from mirubato.storage.registry import Released
from mirubato.storage.retention import RetentionSettings
from tests.storage.keeping import DAYS, HOURS, MINUTE, T0, WEEK, Bucket, Kept, buckets
from tests.storage.world import EVERYTHING, Request, Settings, Unlimited, World, equal, named, one

HOST = ("host", "a")
COUNTER, GAUGE = named("c_total", host="a"), named("g", host="a")


def counter(time: int) -> float:
    """Grows by 30 every 5 minutes, and begins anew every 10 hours."""
    return (time - T0) % (10 * HOUR_MS) // (5 * MINUTE) * 30.0


def gauge(time: int) -> float:
    return sin(time / 1e7) * 10


def sample_times(start: int, end: int) -> range:
    return range(start + 4 * MINUTE, end + 1, 5 * MINUTE)


def live(worlds: list[Kept], hours: int, each: Callable[[Kept], None] = lambda world: world.keep()) -> None:
    """Hours of samples every 5 minutes, and what is due after each."""
    for _ in range(hours):
        for world in worlds:
            times = sample_times(world.now, world.now + HOUR_MS)
            world.now += HOUR_MS
            world.append(Request([(COUNTER, t, counter(t)) for t in times] + [(GAUGE, t, gauge(t)) for t in times]))
            each(world)


def now_and_then(world: Kept) -> None:
    """Four times a day."""
    if world.now % (6 * HOUR_MS) == 0:
        world.keep()


def sent(labels: Labels, hours: int, start: int = T0) -> dict[int, float]:
    value = counter if labels == COUNTER else gauge
    return {
        time: value(time)
        for hour in range(hours)
        for time in sample_times(start + hour * HOUR_MS, start + (hour + 1) * HOUR_MS)
    }


# --- every combination of ages ----------------------------------------------------------------------------------------

HOUR, DAY = HOUR_MS, DAY_MS
COMBINATIONS = {
    "raw, hours, days": RetentionSettings(DAY, 3 * DAY, 30 * DAY),
    "no hours": RetentionSettings(DAY, 0, 30 * DAY),
    "no days": RetentionSettings(DAY, 3 * DAY, 0),
    "raw longer than hours": RetentionSettings(3 * DAY, DAY, 30 * DAY),
    "raw as long as hours": RetentionSettings(2 * DAY, 2 * DAY, 30 * DAY),
    "hours longer than days": RetentionSettings(DAY, 4 * DAY, 2 * DAY),
    "raw longest": RetentionSettings(4 * DAY, 2 * DAY, 3 * DAY),
    "nothing but raw": RetentionSettings(DAY, 0, 0),
    "an hour": RetentionSettings(HOUR, 3 * HOUR, 2 * DAY),
}


@pytest.mark.parametrize("rules", COMBINATIONS.values(), ids=COMBINATIONS.keys())
def test_each_age_in_its_form(tmp_path: Path, rules: RetentionSettings) -> None:
    hours = 6 * 24 + 5
    with Kept(tmp_path / "data", rules) as world:
        live([world], hours, now_and_then)
        world.keep()
        now = world.now
        raw = {time: value for time, value in sent(COUNTER, hours).items() if time > now - rules.raw}
        held = world.select(equal("__name__", "c_total"), start=now - rules.raw + 1)[COUNTER]
        assert held.keys() == raw.keys()
        longest = max(rules.raw, rules.hourly, rules.daily)
        days = world.rollups(DAYS)[COUNTER]
        for end, bucket in buckets(sent(COUNTER, hours), DAY).items():
            if end - DAY >= now - longest:
                assert days[end] == pytest.approx(bucket.columns()), "whole days are right in every form"
        assert min(days) > now - longest - DAY
        if max(rules.hourly, rules.daily) <= rules.raw:
            assert world.count("rollup") == 0
            assert world.ask("increase(c_total[1h])", now - rules.raw // 2).warnings == []
            return
        finest = HOUR if rules.hourly > rules.raw else DAY
        (oldest,) = world.rows("SELECT min(time_low) FROM block")[0]
        assert oldest is None or oldest > (now - rules.raw) // finest * finest
        found = {resolution for (resolution,) in world.rows("SELECT DISTINCT resolution FROM rollup")}
        wanted = ({HOUR} if rules.hourly > rules.raw else set()) | (
            {DAY} if rules.daily > max(rules.raw, rules.hourly) else set()
        )
        assert found == wanted
        if HOUR in wanted:
            ends = [end for (end,) in world.rows(f"SELECT time_low FROM rollup WHERE resolution = {HOUR}")]
            assert min(ends) > (now - rules.hourly) // HOUR * HOUR - DAY


def test_settings_may_change_at_any_time(tmp_path: Path) -> None:
    """From one combination to the next over the same file; what there still is stays right."""
    world = Kept(tmp_path / "data", COMBINATIONS["an hour"])
    days = 0
    for rules in (*COMBINATIONS.values(), *reversed(COMBINATIONS.values())):
        if min(rules.raw, rules.daily) < HOUR:
            continue
        world.rules = rules
        world = world.reopened()
        live([world], 30, now_and_then)
        world.keep()
        days += 30
        found = world.rollups(DAYS)[COUNTER]
        wanted = buckets(sent(COUNTER, days), DAY)
        oldest = world.now - max(rules.raw, rules.daily, rules.hourly)
        for end, columns in found.items():
            if end - DAY > max(oldest, world.now - 3 * DAY):
                assert columns == pytest.approx(wanted[end].columns())
    world.close()


# --- queries across the borders ---------------------------------------------------------------------------------------

KEPT, ALL = RetentionSettings(2 * DAY, 4 * DAY, 60 * DAY), RetentionSettings(400 * DAY, 0, 0)
QUERY_HOURS = 8 * 24


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kept, Kept]]:
    """Eight days: two of samples, two of hours, the rest days; and the same with all samples."""
    directory = tmp_path_factory.mktemp("pair")
    with Kept(directory / "kept", KEPT) as kept, Kept(directory / "all", ALL) as whole:
        live([kept, whole], QUERY_HOURS)
        yield kept, whole


EXACT = (
    "avg_over_time(g[{}])",
    "max_over_time(g[{}])",
    "min_over_time(g[{}])",
    "sum_over_time(g[{}])",
    "count_over_time(g[{}])",
    "last_over_time(g[{}])",
)


@pytest.mark.parametrize("query", EXACT)
def test_whole_buckets_are_as_all_samples(pair: tuple[Kept, Kept], query: str) -> None:
    kept, _ = pair
    for text, step in (("1d", DAY), ("2d", DAY), ("5d", DAY)):
        found, wanted = (w.over(query.format(text), T0 + DAY, kept.now, step) for w in pair)
        assert found.keys() == wanted.keys()
        for labels, values in wanted.items():
            assert found[labels] == pytest.approx(values, rel=1e-9)
    borders = kept.store.kept.borders
    for text in ("1h", "3h", "1d"):
        start = borders.hourly + DAY if text == "1d" else borders.hourly + 3 * HOUR
        found, wanted = (w.over(query.format(text), start, kept.now, HOUR) for w in pair)
        for labels, values in wanted.items():
            assert found[labels] == pytest.approx(values, rel=1e-9)
    assert kept.ask(query.format("1d"), kept.now).warnings == []


@pytest.mark.parametrize("text", ["1h", "5h", "1d", "36h", "3d"])
def test_increases_and_rates(pair: tuple[Kept, Kept], text: str) -> None:
    """Exact from the sample before the window to its last one: PromQL's extrapolation is within two samples of that."""
    kept, whole = pair
    every = sorted(sent(COUNTER, QUERY_HOURS).items())
    grown = [after - before if after >= before else after for (_, before), (_, after) in pairwise(every)]
    length = {"1h": HOUR, "5h": 5 * HOUR, "1d": DAY, "36h": 36 * HOUR, "3d": 3 * DAY}[text]
    step = DAY if length % DAY == 0 else HOUR
    borders = kept.store.kept.borders
    start = T0 + 3 * DAY if step == DAY else borders.hourly + length
    found = kept.over(f"increase(c_total[{text}])", start, borders.raw, step)[(HOST,)]
    rates = kept.over(f"rate(c_total[{text}])", start, borders.raw, step)[(HOST,)]
    compared = whole.over(f"increase(c_total[{text}])", start, borders.raw, step)[(HOST,)]
    assert found.keys() == compared.keys()
    for end, value in found.items():
        exact = sum(more for (time, _), more in zip(every[1:], grown, strict=True) if end - length < time <= end)
        assert value == pytest.approx(exact, rel=1e-9)
        assert rates[end] == pytest.approx(exact / length * 1000, rel=1e-9)
        assert value == pytest.approx(compared[end], abs=61)


def test_a_range_in_the_middle_of_a_day_is_in_proportion(pair: tuple[Kept, Kept]) -> None:
    kept, _ = pair
    end = T0 + 3 * DAY
    whole = [kept.values("increase(c_total[1d])", end - back * DAY)[(HOST,)] for back in (0, 1)]
    found = kept.values("increase(c_total[36h])", end)[(HOST,)]
    assert found == pytest.approx(whole[0] + whole[1] / 2)
    assert kept.values("rate(c_total[36h])", end)[(HOST,)] == pytest.approx(found / (36 * 3600))
    counts = kept.values("count_over_time(g[30h])", end)[(HOST,)]
    assert counts == pytest.approx(30 * 12)
    middle = kept.values("increase(c_total[1d])", end + 7 * HOUR)
    assert middle == kept.values("increase(c_total[1d])", end), "as of the last whole day"


def test_short_ranges_widen_and_say_so(pair: tuple[Kept, Kept]) -> None:
    kept, _ = pair
    borders = kept.store.kept.borders
    hour, day = borders.raw - 5 * HOUR, T0 + 2 * DAY
    assert kept.values("rate(c_total[5m])", hour) == kept.values("rate(c_total[1h])", hour)
    assert kept.values("increase(c_total[5m])", hour) == kept.values("increase(c_total[1h])", hour)
    assert kept.values("rate(c_total[5m])", day) == kept.values("rate(c_total[1d])", day)
    (warning,) = kept.ask("rate(c_total[5m])", hour).warnings
    assert warning.startswith("PromQL warning: samples up to 2023-")
    assert "are hourly rollups (MIRUBATO_RETENTION_RAW): there 5m is widened to 1h (1:6)" in warning
    (warning,) = kept.ask("rate(c_total[5m])", day).warnings
    assert "are daily rollups (MIRUBATO_RETENTION_RAW): there 5m is widened to 1d" in warning
    result = kept.ask("sum(rate(c_total[1d])) / count(g)", T0 + 6 * DAY)
    assert any("hourly" in text for text in result.warnings)
    assert kept.ask("rate(c_total[1h])", kept.now).warnings == []


def test_an_instant_is_the_last_sample_of_its_bucket(pair: tuple[Kept, Kept]) -> None:
    kept, whole = pair
    borders = kept.store.kept.borders
    for end, step in ((borders.raw - HOUR, HOUR), (borders.hourly - DAY, DAY)):
        last = end - MINUTE
        assert kept.values("g", end) == {GAUGE: gauge(last)} == whole.values("g", end)
        assert kept.values("timestamp(g)", end) == {(HOST,): last / 1000}
        assert kept.values("g", end + step // 3) == {GAUGE: gauge(last)}
    assert kept.values("g offset 5d", kept.now) == kept.values("g", kept.now - 5 * DAY)
    assert kept.values("avg_over_time(rate(c_total[1h])[5h:1h])", borders.raw).keys() == {(HOST,)}


def test_a_range_over_all_borders_is_steady(pair: tuple[Kept, Kept]) -> None:
    """Days, hours and samples in one answer: nowhere a hole, nowhere far from what all samples give."""
    kept, _ = pair
    found, wanted = (w.over("rate(c_total[1d])", T0 + 2 * DAY, kept.now, 2 * HOUR)[(HOST,)] for w in pair)
    assert found.keys() == wanted.keys()
    assert list(found.values()) == pytest.approx(list(wanted.values()), rel=0.03)
    counts = kept.over("count_over_time(g[1d])", T0 + 2 * DAY, kept.now, 2 * HOUR)[(HOST,)]
    assert list(counts.values()) == pytest.approx([288.0] * len(counts), rel=1e-9)


REFUSED = (
    "quantile_over_time(0.5, g[1h])",
    "irate(c_total[5m])",
    "changes(g[1h])",
    "deriv(g[1h])",
    "stddev_over_time(g[1h])",
    "g[1h]",
    "increase(c_total[1h] anchored)",
    "delta(g[1d])",
    "g smoothed",
)


@pytest.mark.parametrize("query", REFUSED)
def test_other_functions_name_the_setting(pair: tuple[Kept, Kept], query: str) -> None:
    kept, _ = pair
    with pytest.raises(QueryError, match=r"MIRUBATO_RETENTION_RAW"):
        kept.ask(query, T0 + 3 * DAY)
    assert kept.ask(query, kept.now) is not None


def test_rollups_count_in_the_budget(pair: tuple[Kept, Kept]) -> None:
    kept, _ = pair
    budget = Unlimited()
    kept.reader.select((EVERYTHING,), 0, kept.now, budget)
    assert budget.samples > 2 * 48 * 12


def test_series_of_a_window_are_found_in_rollups(pair: tuple[Kept, Kept]) -> None:
    kept, _ = pair
    assert set(kept.reader.series((EVERYTHING,), T0, Unlimited(), T0 + DAY)) == {COUNTER, GAUGE}


# --- native histograms ------------------------------------------------------------------------------------------------


def latency(time: int) -> Histogram:
    grown = float((time - T0) % (7 * HOUR_MS) // MINUTE)
    return Histogram(3 * grown, 2 * grown, 0.0, 0.0, 0, Buckets(0, [grown, 2 * grown]))


def test_native_histograms_keep_their_increase(tmp_path: Path) -> None:
    latency_of = named("latency", host="a")
    with Kept(tmp_path / "kept", KEPT) as kept, Kept(tmp_path / "all", ALL) as whole:
        for world in (kept, whole):
            for _ in range(6 * 24):
                times = sample_times(world.now, world.now + HOUR)
                world.now += HOUR
                world.append(Request(histograms=[(latency_of, time, latency(time)) for time in times]))
                world.keep()
        stored = sum(row[0] for row in kept.rows("SELECT buckets FROM rollup WHERE kind = 1"))
        assert 0 < stored < 300
        for end, length in ((T0 + DAY, "1d"), (kept.store.kept.borders.raw, "1h"), (T0 + 5 * DAY, "3d")):
            for query in (
                "histogram_count(increase(latency[{}]))",
                "histogram_sum(rate(latency[{}]))",
                "histogram_quantile(0.5, rate(latency[{}]))",
            ):
                found, wanted = (world.values(query.format(length), end) for world in (kept, whole))
                assert found == pytest.approx(wanted, rel=0.12), (query, length)
        assert kept.values("histogram_count(latency)", T0 + DAY) == {(HOST,): latency(T0 + DAY - MINUTE).count}
        with pytest.raises(QueryError, match="native histograms"):
            kept.ask("sum_over_time(latency[1d])", T0 + DAY)


# --- late, stale, gone ------------------------------------------------------------------------------------------------


def test_what_comes_late_for_a_bucket_that_is_there_joins_it(tmp_path: Path) -> None:
    """After the clock was put back, say, or the size bound took samples early."""
    with Kept(tmp_path / "data", KEPT) as world:
        world.append(Request([(COUNTER, T0 + 1000, 1.0), (COUNTER, T0 + 9000, 5.0)]))
        world.keep(T0 + 3 * DAY)
        assert world.count("block") == 0
        world.append(Request([(COUNTER, T0 + 5000, 2.0), (COUNTER, T0 + 9500, 8.0)]))
        wanted = Bucket(((T0 + 1000, 1.0), (T0 + 5000, 2.0), (T0 + 9000, 5.0), (T0 + 9500, 8.0))).columns()
        assert world.rollups(HOURS)[COUNTER][T0 + HOUR] == pytest.approx(wanted)
        assert world.values("count_over_time(c_total[1h])", T0 + HOUR) == {(HOST,): 4.0}
        world.keep()
        assert world.count("block") == 0
        assert world.rollups(HOURS)[COUNTER][T0 + HOUR] == pytest.approx(wanted)
        assert world.values("increase(c_total[1h])", T0 + HOUR) == {(HOST,): 7.0}


def test_the_later_write_counts_and_markers_do_not(tmp_path: Path) -> None:
    with Kept(tmp_path / "data", KEPT) as world:
        world.append(Request([(GAUGE, T0 + 1000, 1.0), (GAUGE, T0 + 2000, STALE_NAN)]))
        world.sealer.seal()
        world.append(Request([(GAUGE, T0 + 1000, 7.0)]))
        world.keep(T0 + 3 * DAY)
        assert world.rollups(HOURS)[GAUGE][T0 + HOUR] == pytest.approx(Bucket(((T0 + 1000, 7.0),)).columns())


def test_small_blocks_of_rollups_become_one(tmp_path: Path) -> None:
    with Kept(tmp_path / "data", KEPT) as world:
        live([world], 7 * 24)
        hours = world.count(f"rollup WHERE resolution = {HOUR} AND name = (SELECT min(name) FROM rollup)")
        assert hours <= 8 * 3
        assert world.count(f"rollup WHERE resolution = {DAY}") <= 9


def test_a_large_metric_goes_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirubato.storage.moving.MOVED_SAMPLES_MAX", 50)
    with Kept(tmp_path / "data", RetentionSettings(DAY, 3 * DAY, 30 * DAY), settings=Settings(active=100)) as world:
        series = [named("m", n=str(number)) for number in range(40)]
        stamps = [T0 + minute * MINUTE for minute in range(1, 300, 20)]
        world.append(Request([(labels, time, float(time - T0)) for labels in series for time in stamps]))
        world.keep(T0 + 2 * DAY)
        assert world.count("block") == 0
        found = world.rollups(HOURS)
        for labels in series:
            wanted = buckets({time: float(time - T0) for time in stamps}, HOUR)
            assert found[labels] == {end: pytest.approx(bucket.columns()) for end, bucket in wanted.items()}
        assert world.retention.steps > 10


def test_exemplars_go_with_the_samples(tmp_path: Path) -> None:
    with Kept(tmp_path / "data", KEPT) as world:
        trace = (("trace_id", "1"),)
        world.append(Request(one("up", T0).floats, exemplars=[(named("up"), T0, 1.0, trace)]))
        late = T0 + 3 * DAY
        world.append(Request(one("up", late).floats, exemplars=[(named("up"), late, 1.0, trace)]))
        world.keep(late)
        assert world.rows("SELECT timestamp FROM exemplar") == [(late,)]


# --- series without data ----------------------------------------------------------------------------------------------

SHORT = RetentionSettings(DAY, 2 * DAY, 3 * DAY)


def test_series_of_which_nothing_is_left_go_with_their_labels(tmp_path: Path) -> None:
    with Kept(tmp_path / "data", SHORT) as world:
        world.append(one("old", T0, host="a", pod="x"), one("both", T0, host="b", pod="x"))
        world.append(one("both", T0, host="a"))
        world.sealer.seal()
        world.keep(T0 + 2 * HOUR)
        world.evict()
        epoch = world.store.registry.epoch
        world.now = T0 + 6 * DAY
        world.append(one("both", world.now, host="b", pod="x"))
        world.keep()
        assert world.rows("SELECT id FROM series") == [(4,)], "the one that came back has a new id"
        assert world.store.registry.epoch > epoch
        assert world.retention.removed_series == 3
        pairs = world.rows("SELECT name, value FROM label_pair ORDER BY id")
        assert pairs == [("host", "b"), ("pod", "x"), ("__name__", "both")] or set(pairs) == {
            ("__name__", "both"),
            ("host", "b"),
            ("pod", "x"),
        }
        assert [name for (name,) in world.rows("SELECT name FROM family")] == ["both"]
        world.append(one("old", world.now, host="a", pod="x"))
        expected = {named("old", host="a", pod="x"), named("both", host="b", pod="x")}
        assert world.select(start=T0 + 5 * DAY).keys() == expected
        again = world.reopened()
        assert again.select(start=T0 + 5 * DAY).keys() == expected
        assert again.rows("SELECT max(id) FROM series") == [(5,)]
        again.close()
        world.store = again.store  # closed already


def test_numbers_are_never_given_again(tmp_path: Path) -> None:
    world = Kept(tmp_path / "data", SHORT)
    world.append(one("first", T0), one("last", T0, host="z"))
    world.now += 2 * HOUR
    world.sealer.seal()
    world.evict()
    world.keep(T0 + 6 * DAY)
    assert world.count("series") == world.count("label_pair") == world.count("family") == 0
    world = world.reopened()
    world.append(one("new", world.now, host="z"))
    assert world.rows("SELECT id FROM series") == [(3,)]
    assert min(world.rows("SELECT min(id) FROM label_pair")[0]) > 3
    world = world.reopened()
    assert world.select(start=world.now).keys() == {named("new", host="z")}
    world.close()


def test_active_series_stay_without_data(tmp_path: Path) -> None:
    with Kept(tmp_path / "data", SHORT) as world:
        world.append(one("up", T0))
        world.keep(T0 + 6 * DAY)
        assert world.count("series") == 1
        world.append(one("up", world.now))
        assert world.count("series") == 1


def test_a_release_that_fails_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was to be released is wanted in the very same commit."""
    with Kept(tmp_path / "data", SHORT) as world:
        world.append(one("old", T0, host="a"))
        world.sealer.seal()
        world.keep(T0 + 2 * HOUR)
        world.evict()
        world.now = T0 + 6 * DAY
        symbols = world.store.registry.symbols
        numbers = {symbols.pair_id_of(("host", "a")), symbols.pair_id_of(("__name__", "old"))}

        def fail(_: sqlite3.Connection) -> None:
            raise sqlite3.OperationalError("no")

        def release(connection: sqlite3.Connection) -> None:
            gone.append(symbols.release(numbers, ()))
            connection.execute("DELETE FROM label_pair")

        gone: list[Released] = []
        with world.busy_writer():
            first = world.errand(release)
            failed = first.failed

            def take_back(error: Exception) -> None:
                symbols.take_back(gone[0])
                failed(error)

            monkeypatch.setattr(first, "failed", take_back)
            waiting = world.start(one("again", world.now, host="a"))
            last = world.errand(fail)
        with pytest.raises(StorageFailed):
            world.run(waiting)
        for errand in (first, last):
            with pytest.raises(StorageFailed):
                errand.result()
        assert {symbols.pair_id_of(("host", "a")), symbols.pair_id_of(("__name__", "old"))} == numbers
        world.append(one("again", world.now, host="a"))
        world.copied(tmp_path / "copy").close()
        with world.again(tmp_path / "copy") as again:
            assert named("again", host="a") in again.select(start=world.now)


def test_families_that_series_belong_to_by_name_stay(tmp_path: Path) -> None:
    with Kept(tmp_path / "data", SHORT) as world:
        world.now = T0 + 6 * DAY
        for name in ("told", "gone"):
            world.store.registry.describe(Family(name, MetricType.COUNTER, "", f"About {name}."))
        world.append(one("told_total", world.now))
        world.keep()
        assert [family.name for family in world.reader.families()] == ["told", "told_total"]


# --- damage -----------------------------------------------------------------------------------------------------------


def damage(world: World, table: str, where: str = "1") -> None:
    """One bit of the values of some blocks."""
    for id_, content in world.rows(f"SELECT id, content FROM {table} WHERE {where}"):
        bad = content[:-3] + bytes((content[-3] ^ 4,)) + content[-2:]
        sql = f"UPDATE {table} SET content = x'{bad.hex()}' WHERE id = {id_}"
        world.rows(sql)


@pytest.mark.parametrize("table", ["block", "rollup"])
def test_a_damaged_block_is_left_out_and_the_rest_answers(
    tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Kept(tmp_path / "data", RetentionSettings(DAY, 5 * DAY, 30 * DAY)) as world:
        live([world], 48)
        world.sealer.seal()
        name = world.store.registry.symbols.pair_id_of(("__name__", "g"))
        damage(world, table, f"name = {name}")
        end = world.now if table == "block" else T0 + 5 * HOUR
        result = world.ask("count_over_time(g[1h])", end)
        assert any("damaged blocks were left out" in text for text in result.warnings)
        assert len(world.store.damaged) > 0
        assert "is damaged and left out: its checksum is wrong" in caplog.text
        assert world.values("count_over_time(c_total[1h])", end) == {(HOST,): 12.0}
        live([world], 48)
        assert world.values("count_over_time(c_total[1h])", world.now) == {(HOST,): 12.0}
        world.merge()
        world.keep(world.now + 40 * DAY)
        assert world.count("block") == world.count("rollup") == 0, "what is too old goes, damaged or not"


def test_merging_leaves_damaged_blocks_alone(tmp_path: Path) -> None:
    with Kept(tmp_path / "data") as world:
        for number in range(8):
            world.append(Request([(GAUGE, T0 + number, float(number))]))
            world.sealer.seal()
        damage(world, "block", "id = 2")
        world.merge()
        assert world.rows("SELECT id FROM block WHERE format < 0") == [(2,)]
        assert set(world.select()[GAUGE]) == {T0 + number for number in range(8)} - {T0 + 1}
        assert world.count("block") < 7


def test_a_file_of_the_first_format_is_read_as_it_is(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with World(directory, now=T0) as world:
        world.append(one("up", T0))
        world.sealer.seal()
        before = world.select()
    with closing(sqlite3.connect(directory / "samples.db", isolation_level=None)) as connection:
        for index in ("block_by_run", "block_by_age", "rollup_by_name", "rollup_by_age"):
            connection.execute(f"DROP INDEX {index}")
        for table in ("rollup", "retention", "late"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("ALTER TABLE block DROP COLUMN checksum")
        connection.execute("UPDATE block SET format = 1")
        connection.execute("PRAGMA user_version=1")
    with Kept(directory, now=T0) as world:
        assert world.select() == before
        world.keep(T0 + 10 * DAY)
        assert world.rollups(HOURS)[named("up")] == {T0: pytest.approx(Bucket(((T0, 1.0),)).columns())}


# --- room -------------------------------------------------------------------------------------------------------------


def noise(world: Kept, hours: int, series: int = 20) -> None:
    """Hours of values that do not compress."""
    for _ in range(hours):
        times = range(world.now + MINUTE, world.now + HOUR + 1, MINUTE)
        world.now += HOUR
        world.append(Request([(named("n", n=str(s)), t, sin(t * (s + 1) / 7)) for s in range(series) for t in times]))
        world.sealer.seal()


def size(world: Kept) -> int:
    return world.pragma("page_size") * (world.pragma("page_count") - world.pragma("freelist_count"))


def test_past_the_size_samples_go_first_then_hours_then_days(tmp_path: Path) -> None:
    with Kept(tmp_path / "data", replace(WEEK, bytes_max=1)) as world:
        world.retention._settings = WEEK
        noise(world, 30, series=60)
        world.append(Request(one("up", world.now).floats, exemplars=[(named("up"), world.now, 1.0, ())]))
        world.merge()
        full = size(world)
        assert world.retention.over_bytes == 0
        world.retention._settings = replace(WEEK, bytes_max=full - 1)
        world.keep()
        assert world.count("exemplar") == 0
        assert size(world) <= full - 1
        world.retention._settings = replace(WEEK, bytes_max=full // 2)
        world.keep()
        assert size(world) <= full // 2
        found = world.rollups(HOURS)[named("n", n="3")]
        assert len(found) == 30, "samples became hours early, and no hour is gone"
        assert world.values("count_over_time(n{n='3'}[1h])", T0 + 5 * HOUR) == {(("n", "3"),): 60.0}
        world.retention._settings = replace(WEEK, bytes_max=1)
        world.keep()
        newest = world.now - RAW_MS_MIN
        assert world.retention.over_bytes > 0
        assert min(world.select()[named("n", n="3")]) > newest
        assert world.count("rollup") == 0


def test_disk_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirubato.storage.sealing._FREE_BYTES_MAX", 100_000)
    monkeypatch.setattr("mirubato.storage.sealing._FREE_BYTES_KEPT", 20_000)
    with Kept(tmp_path / "data", RetentionSettings(2 * DAY, 0, 0)) as world:
        noise(world, 10, series=100)
        full = world.store.path.stat().st_size
        world.keep(world.now + 3 * DAY)
        assert world.count("block") == 0
        assert world.store.path.stat().st_size < full / 2


# --- plain rows -------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore(tmp_path / "state")
    yield store
    assert store.close(10)


Row = dict[str, object]


def table(state: StateStore, name: str = "rollup_hourly") -> dict[int, Row]:
    rows = state.read(lambda connection: connection.execute(f"SELECT * FROM {name}").fetchall())
    return {row["end_ms"]: dict(row) for row in rows}


def check_rows(rows: dict[int, Row], samples: dict[int, float], step: int, until: int) -> None:
    wanted = {end: bucket for end, bucket in buckets(samples, step).items() if end <= until}
    assert rows.keys() == wanted.keys()
    before: float | None = None
    for end, bucket in sorted(wanted.items()):
        row, values = rows[end], [value for _, value in bucket.samples]
        chain = values if before is None else [before, *values]
        grown = sum(b - a if b >= a else b for a, b in pairwise(chain))
        assert row["increase"] == pytest.approx(grown)
        assert [row[name] for name in ("count", "sum", "min", "max", "last")] == pytest.approx(
            [len(values), sum(values), min(values), max(values), values[-1]]
        )
        before = values[-1]


def test_hours_and_days_of_chosen_metrics_are_rows(tmp_path: Path, state: StateStore) -> None:
    with Kept(tmp_path / "data", KEPT, state=state, metrics=("c_total", "none")) as world:
        live([world], 30)
        rows = table(state)
        check_rows(rows, sent(COUNTER, 30), HOUR, world.now)
        check_rows(table(state, "rollup_daily"), sent(COUNTER, 30), DAY, T0 + DAY)
        row = rows[T0 + HOUR]
        assert (row["metric"], json.loads(str(row["labels"]))) == ("c_total", {"__name__": "c_total", "host": "a"})
        assert row["series"] == rows[T0 + 9 * HOUR]["series"]
        world.keep()
        assert table(state) == rows


def test_late_samples_reach_the_rows(tmp_path: Path, state: StateStore) -> None:
    with Kept(tmp_path / "data", KEPT, state=state, metrics=("c_total",)) as world:
        live([world], 10)
        late = {T0 + 3 * HOUR - 1: 500.0, T0 + 5 * HOUR + 1: 1.0}
        world.append(Request([(COUNTER, time, value) for time, value in late.items()]))
        world.append(Request([(GAUGE, T0 + 1, 1.0)]))
        world.sealer.seal()
        assert len(world.rows("SELECT * FROM late")) == 2, "of the metric that is watched"
        world.keep()
        check_rows(table(state), sent(COUNTER, 10) | late, HOUR, world.now)
        assert world.count("late") == 0
        world.now += 30 * HOUR
        live([world], 1)
        check_rows(table(state), sent(COUNTER, 10) | late | sent(COUNTER, 1, T0 + 40 * HOUR), HOUR, world.now)


def test_rows_go_when_they_are_old(tmp_path: Path, state: StateStore) -> None:
    rules = RetentionSettings(HOUR, 5 * HOUR, 2 * DAY)
    with Kept(tmp_path / "data", rules, state=state, metrics=("c_total",)) as world:
        live([world], 60)
        assert min(table(state)) > world.now - 5 * HOUR
        assert set(table(state, "rollup_daily")) == {T0 + DAY, T0 + 2 * DAY}


def test_rows_that_were_written_and_not_noted_are_written_again(
    tmp_path: Path, state: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A death between the two files."""
    with Kept(tmp_path / "data", KEPT, state=state, metrics=("c_total",)) as world:
        live([world], 3)
        before = world.store.kept

        def die(*_: object, **__: object) -> None:
            raise RuntimeError("killed")

        monkeypatch.setattr("mirubato.storage.plain_rows.Mover.commit", die)
        with pytest.raises(RuntimeError):
            live([world], 1)
        monkeypatch.undo()
        assert world.store.kept == before
        world.keep()
        check_rows(table(state), sent(COUNTER, 4), HOUR, world.now)
