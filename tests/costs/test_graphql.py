"""Cloudflare's GraphQL analytics, asked over HTTP of a double that knows the documented schema."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from mirubato.costs.collecting import Told
from mirubato.costs.datasets import DATASETS
from mirubato.costs.graphql import Account, Analytics, Bounds, Pace, TokenRefused, UsageUnknown
from mirubato.costs.ledger import Ledger
from mirubato.costs.periods import DAY_MS, HOUR_MS
from mirubato.costs.prices import Meter
from mirubato.costs.usage import Source, Usage
from mirubato.database.state import StateStore
from tests.costs.cloudflare import Cloudflare, serving

T = TypeVar("T")
NOW = 1_795_521_600_000 + 12 * HOUR_MS  # 2026-11-24T12:00Z
WORKERS, D1 = DATASETS[0], DATASETS[1]


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


@pytest.fixture
def cloudflare() -> Iterator[Cloudflare]:
    with serving(Cloudflare()) as double:
        yield double


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    state = StateStore(tmp_path)
    yield Ledger(state)
    state.close(5)


def asked(
    double: Cloudflare, work: Callable[[Analytics], Coroutine[Any, Any, T]], clock: Clock | None = None, token: str = ""
) -> T:
    """What a piece of work answers with a client of the double."""
    clock = clock or Clock()

    async def run() -> T:
        async with httpx.AsyncClient() as client:
            account = Account(double.url, double.account, token or double.token)
            return await work(Analytics(account, client, Pace(clock, clock.sleep)))

    return asyncio.run(run())


def collected(double: Cloudflare, ledger: Ledger, now: int = NOW, token: str = "") -> dict[str, str]:
    """Ask for everything once; the errors by dataset."""

    async def work(analytics: Analytics) -> dict[str, str]:
        told = Told(ledger, analytics, 3 * DAY_MS)
        await told.collect(now)
        return told.errors

    return asked(double, work, token=token)


def total(ledger: Ledger, product: str, meter: str) -> float:
    rows = ledger.usage(0, NOW + DAY_MS)
    return sum(row.quantity for row in rows if row.meter == Meter(product, meter))


class TestAsking:
    def test_every_dataset_is_asked_as_documented(self, cloudflare: Cloudflare, ledger: Ledger) -> None:
        hour = NOW - 3 * HOUR_MS
        use = cloudflare.use
        use("workersInvocationsAdaptive", hour, {"scriptName": "api"}, requests=1000.0, cpuTimeUs=7_000_000.0)
        use("d1AnalyticsAdaptiveGroups", hour, {"databaseId": "db1"}, rowsRead=50.0, rowsWritten=5.0)
        use("d1StorageAdaptiveGroups", hour, {"databaseId": "db1"}, "max", databaseSizeBytes=3e9)
        for action in ("read", "write", "delete", "list"):
            use("kvOperationsAdaptiveGroups", hour, {"namespaceId": "n", "actionType": action}, requests=10.0)
        use("kvStorageAdaptiveGroups", hour, {"namespaceId": "n"}, "max", byteCount=6e9, keyCount=1.0)
        for action in ("PutObject", "GetObject", "DeleteObject"):
            use("r2OperationsAdaptiveGroups", hour, {"bucketName": "b", "actionType": action}, requests=20.0)
        use("r2StorageAdaptiveGroups", hour, {"bucketName": "b"}, "max", payloadSize=9e9, metadataSize=0.0)
        use("queueMessageOperationsAdaptiveGroups", hour, {"queueId": "q"}, billableOperations=30.0, bytes=1.0)
        use("durableObjectsInvocationsAdaptiveGroups", hour, {"scriptName": "room"}, requests=40.0)
        use("durableObjectsPeriodicGroups", hour, duration=70.0)
        use("durableObjectsStorageGroups", hour, group="max", storedBytes=3e9)
        assert collected(cloudflare, ledger) == {}
        found = {
            (str(row.meter), row.script, row.label): pytest.approx(row.quantity)
            for row in ledger.usage(NOW - DAY_MS, NOW + DAY_MS)
        }
        assert found == {
            ("workers.requests", "api", ""): 1000,
            ("workers.cpu_ms", "api", ""): 7000,
            ("d1.rows_read", "", "database=db1"): 50,
            ("d1.rows_written", "", "database=db1"): 5,
            ("d1.storage", "", "database=db1"): 0.1,
            ("kv.reads", "", "namespace=n"): 10,
            ("kv.writes", "", "namespace=n"): 10,
            ("kv.deletes", "", "namespace=n"): 10,
            ("kv.lists", "", "namespace=n"): 10,
            ("kv.storage", "", "namespace=n"): 0.2,
            ("r2.class_a", "", "bucket=b"): 20,
            ("r2.class_b", "", "bucket=b"): 20,
            ("r2.storage", "", "bucket=b"): 0.3,
            ("queues.operations", "", "queue=q"): 30,
            ("durable_objects.requests", "room", ""): 40,
            ("durable_objects.duration", "", ""): 70,
            ("durable_objects.storage", "", ""): 0.1,
        }

    def test_pages(self, cloudflare: Cloudflare, ledger: Ledger) -> None:
        cloudflare.page_rows = 20
        for hour in range(48):
            for script in range(7):
                at = NOW - (hour + 2) * HOUR_MS
                cloudflare.use(
                    "workersInvocationsAdaptive", at, {"scriptName": f"s{script}"}, requests=1.0, cpuTimeUs=0.0
                )
        assert collected(cloudflare, ledger) == {}
        assert total(ledger, "workers", "requests") == 48 * 7
        assert cloudflare.pages > 17

    def test_an_hour_with_more_rows_than_a_page_is_told_and_not_cut(self, cloudflare: Cloudflare) -> None:
        for script in range(30):
            cloudflare.use("workersInvocationsAdaptive", NOW, {"scriptName": f"s{script}"}, requests=1.0)
        with pytest.raises(UsageUnknown, match="more than 20 rows for one hour"):
            asked(cloudflare, lambda one: one.usage(WORKERS, NOW, NOW + HOUR_MS, Bounds(rows=20)))

    def test_collecting_again_adds_nothing(self, cloudflare: Cloudflare, ledger: Ledger) -> None:
        cloudflare.use("workersInvocationsAdaptive", NOW - 3 * HOUR_MS, {"scriptName": "api"}, requests=10.0)
        collected(cloudflare, ledger)
        collected(cloudflare, ledger, NOW + HOUR_MS)
        assert total(ledger, "workers", "requests") == 10

    def test_a_correction_replaces(self, cloudflare: Cloudflare, ledger: Ledger) -> None:
        cloudflare.use("workersInvocationsAdaptive", NOW - 2 * HOUR_MS, {"scriptName": "api"}, requests=10.0)
        collected(cloudflare, ledger)
        cloudflare.rows.clear()
        cloudflare.use("workersInvocationsAdaptive", NOW - 2 * HOUR_MS, {"scriptName": "api"}, requests=12.0)
        collected(cloudflare, ledger)
        assert total(ledger, "workers", "requests") == 12

    def test_what_the_schema_does_not_have_is_an_error(self, cloudflare: Cloudflare) -> None:
        status, _, document = cloudflare.answer(
            f"Bearer {cloudflare.token}", b'{"query": "{ viewer { accounts(filter: {accountTag: 1}) { nonsense } } }"}'
        )
        assert status == 200
        assert document["errors"]


class TestLimits:
    def test_the_pace_stays_below_the_limit(self) -> None:
        clock = Clock()
        pace = Pace(clock, clock.sleep, most=200, window_s=300)
        calls: list[float] = []

        async def work() -> None:
            for _ in range(1000):
                await pace.turn()
                calls.append(clock.now)

        asyncio.run(work())
        worst = max(sum(1 for at in calls if begin <= at < begin + 300) for begin in set(calls))
        assert worst <= 200
        assert clock.now == 1200

    def test_429_waits_as_long_as_it_is_told(self, cloudflare: Cloudflare) -> None:
        cloudflare.failures.append((429, {"retry-after": "42"}))
        clock = Clock()
        asked(cloudflare, lambda one: one.usage(WORKERS, NOW, NOW + HOUR_MS, Bounds()), clock)
        assert clock.slept == 42

    def test_the_rate_limit_of_graphql_comes_with_status_200(self, cloudflare: Cloudflare) -> None:
        cloudflare.broken["workersInvocationsAdaptive"] = "rate limit exceeded, please try again later"
        clock = Clock()
        with pytest.raises(UsageUnknown, match="rate limit"):
            asked(cloudflare, lambda one: one.usage(WORKERS, NOW, NOW + HOUR_MS, Bounds()), clock)
        assert len(cloudflare.queries) == 4
        assert clock.slept > 10

    def test_what_settings_forbid_is_not_asked(self, cloudflare: Cloudflare, ledger: Ledger) -> None:
        cloudflare.disabled.add("d1AnalyticsAdaptiveGroups")
        errors = collected(cloudflare, ledger)
        assert list(errors) == ["d1AnalyticsAdaptiveGroups"]
        assert not any("d1AnalyticsAdaptiveGroups(" in query for query in cloudflare.queries)


class TestFailures:
    def test_one_dataset_fails_and_the_others_are_told(self, cloudflare: Cloudflare, ledger: Ledger) -> None:
        cloudflare.broken["d1AnalyticsAdaptiveGroups"] = "internal error"
        cloudflare.use("workersInvocationsAdaptive", NOW - 3 * HOUR_MS, {"scriptName": "api"}, requests=10.0)
        errors = collected(cloudflare, ledger)
        assert list(errors) == ["d1AnalyticsAdaptiveGroups"]
        assert "internal error" in errors["d1AnalyticsAdaptiveGroups"]
        assert total(ledger, "workers", "requests") == 10
        notes = {one.note for one in ledger.coverage(0, NOW) if one.dataset == "d1AnalyticsAdaptiveGroups"}
        assert len(notes) == 1

    def test_a_revoked_token(self, cloudflare: Cloudflare, ledger: Ledger) -> None:
        cloudflare.use("workersInvocationsAdaptive", NOW - 5 * HOUR_MS, {"scriptName": "api"}, requests=10.0)
        collected(cloudflare, ledger)
        errors = collected(cloudflare, ledger, NOW + 5 * HOUR_MS, token="revoked-secret")
        assert set(errors) == {dataset.node for dataset in DATASETS}
        assert all("refuses the token" in text and "revoked-secret" not in text for text in errors.values())
        assert total(ledger, "workers", "requests") == 10, "what was told before stays"

    @pytest.mark.parametrize("status", [401, 403])
    def test_refused_by_status(self, cloudflare: Cloudflare, status: int) -> None:
        cloudflare.failures.append((status, {}))
        with pytest.raises(TokenRefused):
            asked(cloudflare, lambda one: one.usage(WORKERS, NOW, NOW + HOUR_MS, Bounds()))

    def test_down_for_a_day_and_back(self, cloudflare: Cloudflare, ledger: Ledger) -> None:
        collected(cloudflare, ledger)
        later = NOW + DAY_MS
        for hour in range(24):
            at = NOW + hour * HOUR_MS
            cloudflare.use("workersInvocationsAdaptive", at, {"scriptName": "api"}, requests=1.0, cpuTimeUs=0.0)
        cloudflare.failures.extend([(503, {})] * 4)
        errors = collected(cloudflare, ledger, later - HOUR_MS)
        assert all("HTTP 503" in text for text in errors.values())
        assert collected(cloudflare, ledger, later) == {}
        assert sum(row.quantity for row in ledger.usage(NOW, later)) == 23, "the running hour is not told yet"

    def test_nobody_there(self, cloudflare: Cloudflare, ledger: Ledger) -> None:
        cloudflare.url = "http://127.0.0.1:9/client/v4"
        assert all("does not answer" in text for text in collected(cloudflare, ledger).values())

    @pytest.mark.parametrize(
        "document",
        [
            None,
            [],
            {"data": None},
            {"data": {"viewer": {"accounts": []}}},
            {"data": {"viewer": {"accounts": [[]]}}},
            {"errors": ["no"]},
            {"data": {"viewer": {"accounts": [{"workersInvocationsAdaptive": None}]}}},
            {"data": {"viewer": {"accounts": [{"workersInvocationsAdaptive": [{"dimensions": {}}]}]}}},
            {"data": {"viewer": {"accounts": [{"workersInvocationsAdaptive": ["row"]}]}}},
        ],
    )
    def test_answers_that_are_none(self, cloudflare: Cloudflare, document: Any) -> None:
        cloudflare.answer = lambda *_: (200, {}, document)  # type: ignore[method-assign]
        with pytest.raises(UsageUnknown):
            asked(cloudflare, lambda one: one.usage(WORKERS, NOW, NOW + HOUR_MS, Bounds()))


def test_negative_quantities_are_left_out_later_and_never_stored_as_zero(cloudflare: Cloudflare) -> None:
    cloudflare.use("workersInvocationsAdaptive", NOW, {"scriptName": "api"}, requests=-5.0, cpuTimeUs=0.0)
    found = asked(cloudflare, lambda one: one.usage(WORKERS, NOW, NOW + HOUR_MS, Bounds()))
    assert Usage(NOW, Meter("workers", "requests"), -5.0, Source.GRAPHQL, "api") in found
