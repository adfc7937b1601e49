"""The facade: exactly the contract's instruments and attributes, nothing raised, nothing lost uncounted."""

import asyncio
import gc
import math
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import mirubato
from mirubato import BatchMetricWriter, Monitor, adaptive_sample_rate
from mirubato.sdk import attributes as bounds
from mirubato.sdk.drops import DROPPED
from mirubato.sdk.instruments import DURATION_BUCKETS, MAX_GATHERED, MAX_NAMES, instruments_of
from mirubato.sdk.timing import Timing
from tests.support.measured import Measured, measured

REQUEST = "http.server.request.duration"
META = {"path": "/score/{id}", "method": "GET", "worker": "api"}
LABELS = {"http.route": "/score/{id}", "http.request.method": "GET", "faas.name": "api"}


@pytest.fixture(autouse=True)
def no_drops_before() -> Iterator[None]:
    DROPPED.forget()
    yield
    DROPPED.forget()


def labels(**named: Any) -> frozenset[tuple[str, Any]]:
    return frozenset({name.replace("__", "."): value for name, value in named.items()}.items())


def test_the_public_names_are_sorted_and_there() -> None:
    assert mirubato.__all__ == sorted(mirubato.__all__)
    assert mirubato.__all__ == ["BatchMetricWriter", "Monitor", "adaptive_sample_rate", "create_monitor"]
    assert all(hasattr(mirubato, name) for name in mirubato.__all__)


class TestTracking:
    def test_a_request(self) -> None:
        monitor, seen = measured()
        monitor.track_request(200, 12.5, META)
        monitor.track_request(200, 7.5, META)
        monitor.track_request(503, 1000, {"method": "get"})
        monitor.track_request(404, 1)
        assert seen.values(REQUEST) == {
            frozenset({**LABELS, "http.response.status_code": 200}.items()): 2,
            frozenset({"http.request.method": "GET", "http.response.status_code": 503, "error.type": "503"}.items()): 1,
            frozenset({("http.response.status_code", 404)}): 1,
        }
        metric = seen.metrics()[REQUEST]
        ok: Any = next(p for p in metric.data.data_points if p.attributes.get("http.route"))  # type: ignore[union-attr]
        assert metric.unit == "s"
        assert ok.sum == pytest.approx(0.02)
        assert ok.explicit_bounds == DURATION_BUCKETS
        assert not monitor.dropped

    def test_everything_else(self) -> None:
        monitor, seen = measured()
        monitor.track_error(ValueError("no"), {"worker": "api"})
        monitor.track_error(asyncio.QueueEmpty())
        monitor.track_business("signup", 2, {"plan": "pro"})
        monitor.track_business("signup", metadata={"plan": "pro"})
        monitor.track_resource("d1_reads", 5, {"table": "users"})
        monitor.track_performance("pdf_render", 1234, {"pages": 10})
        assert seen.values("app.errors") == {
            labels(error__type="ValueError", faas__name="api"): 1,
            labels(error__type="asyncio.queues.QueueEmpty"): 1,
        }
        assert seen.values("business.signup") == {labels(plan="pro"): 3}
        assert seen.values("resource.usage") == {labels(resource="d1_reads", table="users"): 5}
        assert seen.values("performance.duration") == {labels(operation="pdf_render", pages=10): 1}
        assert seen.metrics()["performance.duration"].unit == "s"

    def test_an_event_of_its_own(self) -> None:
        picked: list[tuple[str, Mapping[str, float], Mapping[str, Any], float]] = []
        monitor, seen = measured(event_points=lambda *event: picked.append(event))
        for number in range(100):
            monitor.track("render", {"ms": number, "pages": 2}, {"kind": "pdf"}, sample=0.5)
        assert seen.values("render.ms") == {labels(kind="pdf"): 100}
        point: Any = seen.metrics()["render.ms"].data.data_points[0]
        assert (point.sum, point.min, point.max, point.explicit_bounds) == (4950, 0, 99, ())
        assert 20 < len(picked) < 80
        assert {event[3] for event in picked} == {2.0}

    def test_the_original_spelling(self) -> None:
        monitor, seen = measured()

        async def handler() -> None:
            await monitor.trackRequest(200, 12.5, META)
            await monitor.track("request", {"sample": 1, "blobs": {"status": "200"}, "doubles": {"ms": 3}})
            await monitor.trackBusiness("signup", 1, {"plan": "pro"})

        asyncio.run(handler())
        assert seen.total(REQUEST) == seen.total("request.ms") == seen.total("business.signup") == 1

    def test_leaving_the_await_out_warns_of_nothing(self) -> None:
        monitor, _ = measured()
        with warnings.catch_warnings(record=True) as caught:
            monitor.track_request(200, 1)
            gc.collect()
        assert not caught

    def test_the_method_of_a_workers_request_is_the_default(self) -> None:
        monitor, seen = measured(method="POST")
        monitor.track_request(200, 1)
        monitor.track_request(200, 1, {"method": "GET"})
        assert {dict(one)["http.request.method"] for one in seen.values(REQUEST)} == {"GET", "POST"}


class TestNothingIsRaised:
    @pytest.mark.parametrize(
        ("call", "reason"),
        [
            (lambda m: m.track_request(200, -1), "negative"),
            (lambda m: m.track_request(200, math.nan), "not_finite"),
            (lambda m: m.track_request(200, math.inf, META), "not_finite"),
            (lambda m: m.track_request(200, "fast"), "error"),
            (lambda m: m.track_request("OK", 1), "bad_status"),
            (lambda m: m.track_request(200, 1, 7), "error"),
            (lambda m: m.track_business("signup", -1), "negative"),
            (lambda m: m.track_business("sign up"), "bad_name"),
            (lambda m: m.track_business(None, None), "error"),
            (lambda m: m.track_resource("reads", -5), "negative"),
            (lambda m: m.track("x", {"y": -1}), "negative"),
            (lambda m: m.track("x", 5), "error"),
            (lambda m: m.bind("nothing", 1)(3), "unbound"),
            (lambda m: m.bind("request", 200)(-1), "negative"),
            (lambda m: m.bind("request", 200)("x"), "error"),
        ],
    )
    def test_it_is_counted_instead(self, call: Any, reason: str) -> None:
        monitor, seen = measured()
        call(monitor)
        assert monitor.dropped[reason] == 1
        assert seen.values("mirubato.sdk.dropped")[labels(reason=reason)] == 1

    @given(st.data())
    def test_whatever_comes(self, data: st.DataObject) -> None:
        monitor, _ = measured()
        anything = st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))
        method = data.draw(
            st.sampled_from(["track_request", "track_error", "track_business", "track_resource", "track"])
        )
        arguments = [data.draw(anything), data.draw(anything), data.draw(st.dictionaries(st.text(), anything))]
        getattr(monitor, method)(*arguments[: 2 if method == "track_error" else 3])

    def test_console_errors_say_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        measured()[0].track_business("signup", -1)
        assert capsys.readouterr().err == ""
        monitor, _ = measured(enable_console_errors=True)
        monitor.track_business("signup", -1)
        monitor.track_request(200, 1, 7)  # type: ignore[arg-type]
        assert capsys.readouterr().err.count("mirubato: ") == 2


class TestBounds:
    def test_keys_and_lengths(self) -> None:
        monitor, seen = measured()
        monitor.track_business("x", 1, {f"key{number}": "v" * 500 for number in range(40)})
        ((found, _),) = seen.values("business.x").items()
        assert len(found) == bounds.MAX_KEYS
        assert {len(value) for _, value in found} == {bounds.MAX_VALUE_LENGTH}
        assert monitor.dropped == {"metadata_keys": 24, "metadata_length": 16}

    def test_one_wild_key_leaves_the_others_as_they_are(self) -> None:
        monitor, seen = measured()
        for number in range(5000):
            monitor.track_business("x", 1, {"user": str(number), "plan": ("free", "pro")[number % 2]})
        values = seen.values("business.x")
        assert sum(values.values()) == 5000
        assert {dict(one).get("plan") for one in values} == {"free", "pro"}
        assert len(values) == bounds.MAX_DISTINCT_VALUES + 2
        assert monitor.dropped["metadata_values"] == 4800

    def test_many_keys_together_overflow(self) -> None:
        monitor, seen = measured()
        for a in range(60):
            for b in range(60):
                monitor.track_request(200, 1, {"a": a, "b": b})
        values = seen.values(REQUEST)
        assert sum(values.values()) == 3600
        assert values[labels(otel__metric__overflow=True)] == 1600
        assert monitor.dropped["metadata_sets"] == 1600

    def test_names(self) -> None:
        monitor, seen = measured()
        for number in range(MAX_NAMES + 50):
            monitor.track_business(f"name{number}")
        assert monitor.dropped["names"] >= 50
        assert len(seen.metrics()) <= MAX_NAMES + 1

    def test_an_unknown_method(self) -> None:
        monitor, seen = measured()
        monitor.track_request(200, 1, {"method": "BREW"})
        assert seen.values(REQUEST) == {labels(http__request__method="_OTHER", http__response__status_code=200): 1}


class TestRequest:
    def test_around_a_block(self) -> None:
        monitor, seen = measured()
        with monitor.request(method="GET", route="/a", worker="api") as one:
            one.status = 404
        assert seen.values(REQUEST) == {
            frozenset({**LABELS, "http.route": "/a", "http.response.status_code": 404}.items()): 1
        }

    def test_an_exception_goes_on(self) -> None:
        monitor, seen = measured()
        with pytest.raises(ZeroDivisionError), monitor.request(method="GET", route="/a"):
            1 / 0  # noqa: B018
        ((found, count),) = seen.values(REQUEST).items()
        assert count == 1
        assert dict(found)["http.response.status_code"] == 500
        assert dict(found)["error.type"] == "ZeroDivisionError"

    def test_around_functions(self) -> None:
        monitor, seen = measured()

        class Answer:
            status_code = 201

        @monitor.request(method="POST", route="/sync")
        def sync(word: str) -> Answer:
            assert word == "x"
            return Answer()

        @monitor.request(method="POST", route="/async")
        async def later() -> Answer:
            await asyncio.sleep(0)
            return Answer()

        async def together() -> None:
            await asyncio.gather(*(later() for _ in range(5)))

        sync("x")
        sync("x")
        asyncio.run(together())
        assert sync.__name__ == "sync"
        counts = {dict(one)["http.route"]: count for one, count in seen.values(REQUEST).items()}
        assert counts == {"/sync": 2, "/async": 5}
        assert {dict(one)["http.response.status_code"] for one in seen.values(REQUEST)} == {201}

    def test_cancellation(self) -> None:
        monitor, seen = measured()

        async def given_up() -> None:
            async with monitor.request(route="/slow"):
                await asyncio.Event().wait()

        async def main() -> None:
            task = asyncio.create_task(given_up())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(main())
        assert seen.values(REQUEST) == {labels(http__route="/slow", http__response__status_code=499): 1}

    def test_a_timing_can_be_named(self) -> None:
        assert isinstance(measured()[0].request(), Timing)


class TestBound:
    def test_it_is_the_same_series(self) -> None:
        monitor, seen = measured()
        bound = monitor.bind("request", 200, META)
        for _ in range(10):
            bound(12.5)
        monitor.track_request(200, 12.5, META)
        assert seen.values(REQUEST) == {frozenset({**LABELS, "http.response.status_code": 200}.items()): 11}
        assert monitor.bind("request", 200, META) is bound

    def test_each_kind(self) -> None:
        monitor, seen = measured()
        monitor.bind("business", "signup", {"plan": "pro"})(2)
        monitor.bind("business", "signup", {"plan": "pro"})()
        monitor.bind("resource", "reads")(7)
        monitor.bind("performance", "render")(1000)
        monitor.bind("error", KeyError)()
        assert seen.values("business.signup") == {labels(plan="pro"): 3}
        assert seen.values("resource.usage") == {labels(resource="reads"): 7}
        assert seen.values("performance.duration") == {labels(operation="render"): 1}
        assert seen.values("app.errors") == {labels(error__type="KeyError"): 1}

    def test_past_its_bound_nothing_is_lost(self) -> None:
        monitor, seen = measured()
        bound = monitor.bind("request", 200)
        for _ in range(MAX_GATHERED + 100):
            bound(1)
        assert seen.total(REQUEST) == MAX_GATHERED + 100

    def test_threads_and_two_readers(self) -> None:
        readers = [InMemoryMetricReader(), InMemoryMetricReader()]
        provider = MeterProvider(readers, shutdown_on_exit=False)
        monitor = Monitor(instruments_of(provider))
        bound = monitor.bind("performance", "x")
        done = threading.Event()

        def work() -> None:
            for _ in range(20_000):
                bound(1)

        def collect(reader: InMemoryMetricReader) -> None:
            while not done.is_set():
                reader.get_metrics_data()

        workers = [threading.Thread(target=work) for _ in range(3)]
        collectors = [threading.Thread(target=collect, args=(reader,)) for reader in readers]
        for thread in workers + collectors:
            thread.start()
        for thread in workers:
            thread.join()
        done.set()
        for thread in collectors:
            thread.join()
        assert [Measured(provider, reader).total("performance.duration") for reader in readers] == [60_000, 60_000]


class TestBatch:
    def test_it_waits_for_the_flush(self) -> None:
        monitor, seen = measured()
        batch = BatchMetricWriter(monitor)
        batch.add("a", {"value": 1})
        batch.add("b", doubles={"value": 2}, blobs={"k": "v"})
        assert seen.total("a.value") == 0

        async def flush() -> None:
            await batch.flush()

        asyncio.run(flush())
        assert seen.total("a.value") == 1
        assert seen.values("b.value") == {labels(k="v"): 1}

    def test_the_end_of_a_block_and_a_full_batch_flush(self) -> None:
        monitor, seen = measured()
        with BatchMetricWriter(monitor) as batch:
            for number in range(1, 301):
                batch.add("a", {"value": number})
            assert seen.total("a.value") == 250
        assert seen.total("a.value") == 300


class TestAdaptiveRate:
    @given(st.floats(min_value=0, allow_nan=False), st.floats(min_value=0, allow_nan=False))
    def test_bounded_and_monotone(self, one: float, other: float) -> None:
        low, high = sorted((one, other))
        assert 0.01 <= adaptive_sample_rate(high) <= adaptive_sample_rate(low) <= 1
        if high < 1e300:
            assert low * adaptive_sample_rate(low) <= high * adaptive_sample_rate(high) * (1 + 1e-12)

    @pytest.mark.parametrize(
        ("rpm", "rate"),
        [(0, 1), (100, 1), (400, 0.5), (10_000, 0.1), (1e6, 0.01), (math.inf, 0.01), (math.nan, 1), (-5, 1)],
    )
    def test_the_documented_curve(self, rpm: float, rate: float) -> None:
        assert adaptive_sample_rate(rpm) == pytest.approx(rate)


def test_one_provider_is_one_set_of_instruments() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    for _ in range(3):
        Monitor(instruments_of(provider)).track_request(200, 1)
    assert Measured(provider, reader).total(REQUEST) == 3
