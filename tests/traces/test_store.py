"""traces.db: what is kept is there after a restart, once; what is old or too much goes, errors last."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from mirubato.errors import StorageFailed
from mirubato.limits import KEPT_MESSAGE_BYTES_MAX, TRACE_ANSWER_BYTES_MAX
from mirubato.model.spans import Span
from mirubato.traces.fitting import fitted_log, fitted_resource, fitted_scope, fitted_span
from mirubato.traces.reading import LogFilter, TraceFilter, find_logs, find_trace, find_traces
from mirubato.traces.schema import FORMAT
from mirubato.traces.store import FILE, TraceStore
from tests.traces.some import DAY_MS, NOW_MS, SHOP, log, opened, origin, span, trace_id

EVERYTHING = TraceFilter(1000)


def keep(store: TraceStore, *spans: Span, at: int = NOW_MS) -> None:
    asyncio.run(store.keep(spans, at))


def names(store: TraceStore, trace: bytes) -> list[str]:
    """Of the kept spans of a trace, as they came."""
    found = store.read(lambda file: find_trace(file, trace))
    return [Message.FromString(row["message"]).name for row in found.spans] if found else []


def traces(store: TraceStore, wanted: TraceFilter = EVERYTHING) -> list[bytes]:
    return [row["trace_id"] for row in store.read(lambda file: find_traces(file, wanted))]


class TestKeeping:
    def test_one_trace_over_services_and_requests(self, tmp_path: Path) -> None:
        trace = trace_id()
        root = span(trace, "GET /cart", took_ms=50)
        child = span(trace, "charge", parent=root.span_id, start_ms=NOW_MS + 10, error=True, of=origin("payments"))
        late = span(trace, "mail", parent=child.span_id, start_ms=NOW_MS + 100, of=origin("mailer"))
        with opened(tmp_path) as store:
            for one in (child, late, root):
                keep(store, one)
            (row,) = store.read(lambda file: find_traces(file, EVERYTHING))
            assert names(store, trace) == ["charge", "mail", "GET /cart"]
        assert (row["root_service"], row["root_name"]) == ("shop", "GET /cart")
        assert (row["spans"], row["errors"], row["services"]) == (3, 1, ["mailer", "payments", "shop"])
        assert (row["start_ns"], row["end_ns"]) == (NOW_MS * 10**6, (NOW_MS + 110) * 10**6)

    def test_a_request_that_comes_twice_counts_once(self, tmp_path: Path) -> None:
        bad = span(trace_id(), error=True)
        with opened(tmp_path) as store:
            keep(store, bad, bad)
            keep(store, bad)
            (row,) = store.read(lambda file: find_traces(file, EVERYTHING))
        assert (row["spans"], row["errors"]) == (1, 1)

    def test_after_a_restart_late_spans_are_still_known(self, tmp_path: Path) -> None:
        trace = trace_id()
        with opened(tmp_path) as store:
            keep(store, span(trace, "bad", error=True))
        with opened(tmp_path) as store:
            keep(store, span(trace, "late"))
            assert names(store, trace) == ["bad", "late"]

    def test_nothing_is_written_for_what_is_not_kept(self, tmp_path: Path) -> None:
        with opened(tmp_path) as store:
            before = store.path.with_name(f"{FILE}-wal").stat().st_size
            keep(store, *(span(trace_id(), of=SHOP) for _ in range(100)))
            assert store.path.with_name(f"{FILE}-wal").stat().st_size == before

    def test_hostile_times(self, tmp_path: Path) -> None:
        bad = span(trace_id(), error=True)
        bad.start_ns, bad.end_ns = 2**64 - 1, 0
        with opened(tmp_path) as store:
            keep(store, bad)
            assert traces(store) == [bad.trace_id]

    def test_when_the_disk_says_no_the_same_may_come_again(self, tmp_path: Path) -> None:
        trace = trace_id()
        bad = span(trace, "bad", error=True)
        with opened(tmp_path) as store:
            keep(store, span(trace, "waited"))
            store.writer.call(lambda file: file.execute("PRAGMA query_only=1"), transaction=False)
            with pytest.raises(StorageFailed):
                keep(store, bad)
            store.writer.call(lambda file: file.execute("PRAGMA query_only=0"), transaction=False)
            keep(store, bad)
            assert sorted(names(store, trace)) == ["bad", "waited"]

    def test_a_file_of_a_newer_version_is_refused(self, tmp_path: Path) -> None:
        with opened(tmp_path):
            pass
        with closing(sqlite3.connect(tmp_path / FILE)) as file:
            file.execute(f"PRAGMA user_version={FORMAT + 1}")
        with pytest.raises(StorageFailed, match="newer version"), opened(tmp_path):
            pass


class TestFinding:
    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            (TraceFilter(10), "cba"),
            (TraceFilter(2), "cb"),
            (TraceFilter(10, service="payments"), "b"),
            (TraceFilter(10, failed=True), "cb"),
            (TraceFilter(10, failed=False), "a"),
            (TraceFilter(10, min_ns=10 * 10**6), "ba"),
            (TraceFilter(10, max_ns=10 * 10**6), "c"),
            (TraceFilter(10, start_ms=NOW_MS + 1), "cb"),
            (TraceFilter(10, end_ms=NOW_MS + 1), "ba"),
            (TraceFilter(10, words=["paymentrefused", "charge"]), "b"),
            (TraceFilter(10, words=["nothing"]), ""),
        ],
    )
    def test_filters(self, tmp_path: Path, wanted: TraceFilter, found: str) -> None:
        ids = {"a": trace_id(), "b": trace_id(), "c": trace_id()}
        with opened(tmp_path) as store:
            keep(store, span(ids["a"], "slow one", took_ms=1500))
            keep(store, span(ids["b"], "charge", took_ms=20, start_ms=NOW_MS + 1, error=True, of=origin("payments")))
            keep(store, span(ids["c"], "GET /", took_ms=5, start_ms=NOW_MS + 2, error=True))
            letters = {id_: letter for letter, id_ in ids.items()}
            assert "".join(letters[id_] for id_ in traces(store, wanted)) == found
            assert traces(store, TraceFilter(10, words=[ids["a"].hex()[:12]])) == [ids["a"]]

    def test_logs(self, tmp_path: Path) -> None:
        trace = trace_id()
        with opened(tmp_path) as store:
            some = [log("card refused", trace=trace), log("info", 9), log("disk full", 21, time_ms=NOW_MS + 5)]
            asyncio.run(store.keep_logs(some, NOW_MS))
            asyncio.run(store.keep_logs(some, NOW_MS))
            keep(store, span(trace, error=True))

            def found(wanted: LogFilter) -> list[int]:
                return [row["severity"] for row in store.read(lambda file: find_logs(file, wanted))]

            assert found(LogFilter(10)) == [21, 17]
            assert found(LogFilter(1)) == [21]
            assert found(LogFilter(10, severity=18)) == [21]
            assert found(LogFilter(10, words=["paymentrefused", "card"])) == [17]
            assert found(LogFilter(10, end_ms=NOW_MS)) == [17]
            assert found(LogFilter(10, service="other")) == []
            whole = store.read(lambda file: find_trace(file, trace))
            assert whole is not None
            assert [row["severity"] for row in whole.logs] == [17]


class TestLeaving:
    def test_age(self, tmp_path: Path) -> None:
        old, new = trace_id(), trace_id()
        with opened(tmp_path, retention_ms=DAY_MS) as store:
            keep(store, span(old, error=True))
            asyncio.run(store.keep_logs([log("old")], NOW_MS))
            keep(store, span(new, took_ms=2000), at=NOW_MS + 1000)
            store.tidy(NOW_MS + DAY_MS + 1000)
            assert traces(store) == [new]
            assert not store.read(lambda file: find_logs(file, LogFilter(10)))
            assert rows(store, "origin") == 1

    def test_size(self, tmp_path: Path) -> None:
        """Slow traces go before errors, old ones before new ones; the file keeps to its bound and shrinks."""
        bound, text = 1 << 20, "x" * 900
        with opened(tmp_path, bytes_max=bound, per_minute=10_000) as store:
            errors = [trace_id() for _ in range(300)]
            for number, trace in enumerate(errors):
                keep(store, span(trace, error=True, text=text), at=NOW_MS + number)
            slow = [trace_id() for _ in range(1500)]
            for number, trace in enumerate(slow):
                keep(store, span(trace, took_ms=2000, start_ms=NOW_MS + number, text=text), at=NOW_MS + 1000 + number)
                assert size(store) <= bound + 65_536
            left = set(traces(store, TraceFilter(10_000)))
            assert set(errors) <= left
            kept_slow = [trace for trace in slow if trace in left]
            assert kept_slow == slow[-len(kept_slow) :]
            assert 100 < len(kept_slow) < 1000
            assert store.trimmed == len(slow) - len(kept_slow)
            store.tidy(NOW_MS + 2 * DAY_MS)
            assert (traces(store), rows(store, "span"), rows(store, "trace_service"), rows(store, "origin")) == (
                [],
                0,
                0,
                0,
            )
            assert size(store) < bound / 4

    def test_of_errors_and_logs_the_oldest_go(self, tmp_path: Path) -> None:
        with opened(tmp_path, bytes_max=1 << 19) as store:
            first = trace_id()
            keep(store, span(first, error=True))
            for number in range(1000):
                asyncio.run(store.keep_logs([log(f"{number} " + "x" * 900)], NOW_MS + 1 + number))
            last = trace_id()
            keep(store, span(last, error=True), at=NOW_MS + 5000)
            assert traces(store) == [last]
            assert 100 < rows(store, "log") < 1000
            assert rows(store, "origin") == 1


def size(store: TraceStore) -> int:
    """Of the file, what is still in its log included."""

    def read(file: sqlite3.Connection) -> int:
        return int(file.execute("PRAGMA page_count").fetchone()[0] * file.execute("PRAGMA page_size").fetchone()[0])

    return store.read(read)


def rows(store: TraceStore, table: str) -> int:
    return int(store.read(lambda file: file.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))


class TestFitting:
    @pytest.mark.parametrize(("count", "chars"), [(1, 10), (1, 100_000), (2000, 10), (70, 5000), (2000, 300)])
    def test_what_is_too_large_is_cut(self, count: int, chars: int) -> None:
        attributes = [KeyValue(key=f"k{number}", value=AnyValue(string_value="ü" * chars)) for number in range(count)]
        message = Message(name="n" * chars, attributes=attributes)
        message.events.add(name="e" * chars, attributes=attributes[:50])
        message.links.add(trace_state="t" * chars, attributes=attributes[:50])
        content = message.SerializeToString() + b"\xfa\x7f\x04\x01\x02\x03\x04"  # a field that nobody knows
        fitted = fitted_span(content)
        assert len(fitted) <= KEPT_MESSAGE_BYTES_MAX
        if len(content) <= KEPT_MESSAGE_BYTES_MAX:
            assert fitted == content
        else:
            assert Message.FromString(fitted).name == "n" * min(chars, 256)

    @pytest.mark.parametrize("cut", [fitted_span, fitted_log, fitted_resource, fitted_scope])
    def test_what_is_no_message(self, cut: Callable[[bytes], bytes]) -> None:
        assert cut(b"\xff" * (KEPT_MESSAGE_BYTES_MAX + 1)) == b""

    def test_a_resource_and_a_scope(self) -> None:
        attributes = [KeyValue(key=f"k{number}", value=AnyValue(string_value="ü" * 5000)) for number in range(300)]
        resource = fitted_resource(Resource(attributes=attributes).SerializeToString())
        assert 1000 < len(resource) <= KEPT_MESSAGE_BYTES_MAX
        assert Resource.FromString(resource).dropped_attributes_count == 300 - 32
        scope = InstrumentationScope(name="n" * 100_000, attributes=attributes)
        assert 1000 < len(fitted_scope(scope.SerializeToString())) <= KEPT_MESSAGE_BYTES_MAX

    def test_a_log(self) -> None:
        large = log("ü" * 1_000_000)
        assert 10_000 < len(fitted_log(large.message)) <= KEPT_MESSAGE_BYTES_MAX


def test_an_answer_has_a_bound(tmp_path: Path) -> None:
    trace, large = trace_id(), "x" * 60_000
    with opened(tmp_path) as store:
        for _ in range(6):
            keep(store, *(span(trace, error=True, text=large) for _ in range(100)))
        found = store.read(lambda file: find_trace(file, trace))
    assert found is not None
    assert (found.truncated, found.row["spans"]) == (True, 600)
    assert sum(len(row["message"]) for row in found.spans) <= TRACE_ANSWER_BYTES_MAX


def test_reads_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        keep(store, span(trace_id(), error=True))
        store.writer.call(lambda _: traces(store))
