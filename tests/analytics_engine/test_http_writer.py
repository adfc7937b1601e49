"""The writer for everything outside Workers, against a server that takes, refuses, waits and dies."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from mirubato.analytics_engine.event_points import EventPoint
from mirubato.analytics_engine.http_writer import DEFAULT_DATASET, PATH, HttpWriter, Patience
from tests.analytics_engine.doors import door

SOON = Patience(first_pause_s=0.01, pause_max_s=0.02, try_for_s=20)
TIMEOUT_S = 20


def point(number: int = 0) -> EventPoint:
    return EventPoint(1000 + number, f"i{number}", ("a", None, "é"), (float(number), -0.0))


def points(count: int) -> list[EventPoint]:
    return [point(number) for number in range(count)]


@contextmanager
def writing(url: str, patience: Patience = SOON, token: str = "") -> Iterator[HttpWriter]:
    writer = HttpWriter(url, patience=patience, token=token)
    try:
        yield writer
    finally:
        writer.close(0)


def test_a_point_arrives_as_the_contract_says() -> None:
    with door() as there, writing(there.url, token="secret") as writer:
        writer.write([point(3)])
        assert writer.flush(TIMEOUT_S)
        assert there.paths == [PATH]
        assert there.headers[0]["Authorization"] == "Bearer secret"
        assert there.headers[0]["Content-Type"] == "application/json"
        row = {"timestamp_ms": 1003, "index": "i3", "blobs": ["a", None, "é"], "doubles": [3.0, -0.0]}
        assert there.bodies == [{"dataset": DEFAULT_DATASET, "points": [{**row, "sample_interval": 1}]}]
        assert writer.counts == {"written": 1}


def test_batches_are_no_larger_than_an_invocation_and_in_order() -> None:
    with door() as there, writing(there.url + "/") as writer:
        writer.write(points(601))
        assert writer.flush(TIMEOUT_S)
        assert max(len(body["points"]) for body in there.bodies) == 250
        assert [row["doubles"][0] for row in there.points] == list(range(601))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_it_tries_again(status: int) -> None:
    with door((status, {}, "later"), (status, {"Retry-After": "soon"}, "")) as there, writing(there.url) as writer:
        writer.write([point()])
        assert writer.flush(TIMEOUT_S)
        assert len(there.points) == 1
        assert writer.counts == {"written": 1, "retries": 2}


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 413, 501])
def test_what_is_refused_is_not_sent_again(status: int) -> None:
    with door((status, {"Location": "/elsewhere"}, "no")) as there, writing(there.url) as writer:
        writer.write(points(2))
        assert writer.flush(TIMEOUT_S)
        assert there.paths == [PATH]
        assert writer.counts == {"dropped_refused": 2}


def test_points_that_the_server_rejects_are_counted() -> None:
    with door((200, {}, '{"written":1,"rejected":[{"position":1}]}')) as there, writing(there.url) as writer:
        writer.write(points(2))
        assert writer.flush(TIMEOUT_S)
        assert writer.counts == {"written": 1, "dropped_rejected": 1}


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"rejected":3}'])
def test_an_answer_without_rejections_is_a_success(text: str) -> None:
    with door((200, {}, text)) as there, writing(there.url) as writer:
        writer.write([point()])
        assert writer.flush(TIMEOUT_S)
        assert writer.counts == {"written": 1}


def test_retry_after_goes_before_its_own_pause() -> None:
    patience = Patience(first_pause_s=500, pause_max_s=500, try_for_s=1000)
    with door((503, {"Retry-After": "0.2"}, "")) as there, writing(there.url, patience) as writer:
        began = time.monotonic()
        writer.write([point()])
        assert writer.flush(TIMEOUT_S)
        assert time.monotonic() - began >= 0.2
        assert writer.counts["written"] == 1


@pytest.mark.parametrize("when", ["3600", formatdate(time.time() + 3600, usegmt=True)])
def test_a_retry_after_beyond_its_patience_ends_the_batch(when: str) -> None:
    with door((503, {"Retry-After": when}, "")) as there, writing(there.url, replace(SOON, try_for_s=5)) as writer:
        writer.write([point()])
        assert writer.flush(TIMEOUT_S)
        assert writer.counts == {"dropped_given_up": 1}


def test_a_server_that_is_away_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with writing(url, replace(SOON, try_for_s=0.1)) as writer:
        writer.write([point()])
        assert writer.flush(TIMEOUT_S)
        assert writer.counts["dropped_given_up"] == 1
        assert writer.counts["retries"] >= 1


def test_the_queue_is_bounded_and_what_is_past_a_limit_never_enters() -> None:
    with door(held=True) as there, writing(there.url, replace(SOON, queue_points=10)) as writer:
        writer.write(points(8))
        writer.write([replace(point(), index="x" * 97), *points(5)])
        assert not writer.flush(0.01)
        there.hold.set()
        assert writer.flush(TIMEOUT_S)
        assert writer.counts == {"written": 10, "dropped_queue_full": 3, "dropped_past_limit": 1}


def test_closing_writes_what_waits() -> None:
    with door() as there:
        writer = HttpWriter(there.url)
        writer.write(points(300))
        assert writer.close(TIMEOUT_S)
        writer.write([point()])
        assert writer.counts == {"written": 300, "dropped_closed": 1}


def test_closing_ends_in_time_though_nobody_answers() -> None:
    with door(held=True) as there:
        writer = HttpWriter(there.url)
        writer.write(points(300))
        assert there.came.wait(TIMEOUT_S)
        began = time.monotonic()
        assert not writer.close(0.2)
        assert time.monotonic() - began < 5
        assert writer.counts["dropped_closed"] + writer.counts["written"] <= 300
        assert writer.counts["dropped_closed"] >= 50


def test_closing_cuts_a_pause_short() -> None:
    with door((503, {"Retry-After": "100"}, "")) as there:
        writer = HttpWriter(there.url)
        writer.write([point()])
        assert there.came.wait(TIMEOUT_S)
        began = time.monotonic()
        assert writer.close(10)
        assert time.monotonic() - began < 9
        assert writer.counts == {"dropped_given_up": 1}


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_starts_empty_and_writes_its_own() -> None:
    with door(held=True) as there, writing(there.url) as writer:
        writer.write(points(2))
        assert there.came.wait(TIMEOUT_S)
        child = os.fork()
        if not child:
            writer.write([point(7)])
            os._exit(0 if writer.close(TIMEOUT_S) and writer.counts == {"written": 1} else 1)
        there.hold.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert writer.flush(TIMEOUT_S)
        assert sorted(row["doubles"][0] for row in there.points) == [0, 1, 7]


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n", encoding="utf-8")
    with door() as there:
        writer = HttpWriter.from_environment(
            {
                "MIRUBATO_ENDPOINT": there.url + PATH,
                "MIRUBATO_DATASET": "mine",
                "MIRUBATO_TOKEN_FILE": str(tmp_path / "token"),
            }
        )
        writer.write([point()])
        assert writer.close(TIMEOUT_S)
        assert there.paths == [PATH]
        assert there.bodies[0]["dataset"] == "mine"
        assert there.headers[0]["Authorization"] == "Bearer from a file"


def test_wrong_settings_do_not_reach_the_app(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    HttpWriter.from_environment({"MIRUBATO_ENDPOINT": "file:///etc", "MIRUBATO_TOKEN_FILE": str(tmp_path / "none")})
    assert "MIRUBATO_ENDPOINT" in caplog.text
    assert "MIRUBATO_TOKEN_FILE" in caplog.text
    with pytest.raises(ValueError, match="http://"):
        HttpWriter("ftp://somewhere")


def test_where_no_thread_may_start_points_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    writer = HttpWriter("http://127.0.0.1:9")
    writer.write(points(2))
    assert writer.flush(0)
    assert writer.counts == {"dropped_closed": 2}
