"""One writer thread: shared commits, errands, and what a bug or a closed file does to those who wait."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirubato.clock import monotonic_s
from mirubato.database.writer import Errand, Writer
from mirubato.errors import StorageFailed


class Note:
    """A work that inserts a number; it can fail at any of its three steps."""

    def __init__(self, number: int, fail_in: str = "") -> None:
        self._number, self._fail_in = number, fail_in
        self.told: list[object] = []
        self.done = threading.Event()

    def run(self, connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO number VALUES (?)", (self._number,))
        self._maybe_fail("run")

    def committed(self) -> None:
        self._tell("committed")

    def failed(self, error: Exception) -> None:
        self._tell(error)

    def _tell(self, outcome: object) -> None:
        self.told.append(outcome)
        self.done.set()
        self._maybe_fail("told")

    def _maybe_fail(self, step: str) -> None:
        if step == self._fail_in:
            raise LookupError(f"a bug in {step}")


def bug(*_: object) -> None:
    raise LookupError("a bug")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    connection = sqlite3.connect(tmp_path / "numbers.db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE number (value INTEGER CHECK (value < 100))")
    made = Writer(connection, "numbers")
    yield made
    assert made.close(10)


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [value for (value,) in connection.execute("SELECT value FROM number ORDER BY rowid")]


def together(writer: Writer, *works: Note | Callable[[], None]) -> None:
    """Queue works (or call what queues something) while the writer is busy, so that they share a commit."""
    begun, go_on = threading.Event(), threading.Event()

    def hold_up(_: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait(10)

    writer.submit(Errand(hold_up, None, transaction=False))
    assert begun.wait(10)
    for work in works:
        if callable(work):
            work()
        else:
            writer.submit(work)
    deadline = monotonic_s() + 10
    while writer.waiting() < len(works):
        assert monotonic_s() < deadline
    go_on.set()
    for work in works:
        if isinstance(work, Note):
            assert work.done.wait(10)


def test_what_waits_shares_a_commit(writer: Writer) -> None:
    commits: list[float] = []
    writer.on_commit = commits.append
    notes = [Note(number) for number in range(5)]
    together(writer, *notes)
    assert writer.call(numbers, transaction=False) == [0, 1, 2, 3, 4]
    assert [note.told for note in notes] == [["committed"]] * 5
    assert len(commits) == 1
    assert commits[0] >= 0


@pytest.mark.parametrize("where", [0, 1, 2])
def test_one_failure_takes_all_of_its_commit_back(writer: Writer, where: int) -> None:
    notes = [Note(100 if place == where else place) for place in range(3)]
    together(writer, *notes)
    assert writer.call(numbers, transaction=False) == []
    for note in notes:
        (error,) = note.told
        assert isinstance(error, StorageFailed)
        assert str(error) == "could not commit: CHECK constraint failed: value < 100"


def test_a_bug_reaches_those_who_wait_as_it_is(writer: Writer, caplog: pytest.LogCaptureFixture) -> None:
    notes = [Note(1), Note(2, fail_in="run")]
    together(writer, *notes)
    assert [type(note.told[0]) for note in notes] == [LookupError, LookupError]
    assert "a bug in run" in caplog.text
    writer.submit(after := Note(3))
    assert after.done.wait(10)
    assert writer.call(numbers, transaction=False) == [3]


def test_failures_are_told_in_reverse(writer: Writer) -> None:
    order: list[int] = []

    class Ordered(Note):
        def failed(self, error: Exception) -> None:
            order.append(self._number)
            super().failed(error)

    together(writer, Ordered(1), Ordered(2), Ordered(100))
    assert order == [100, 2, 1]


@pytest.mark.parametrize("number", [1, 100])
def test_who_cannot_be_told_does_not_end_the_thread(
    writer: Writer, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    notes = [Note(number, fail_in="told"), Note(2)]
    together(writer, *notes)
    assert [len(note.told) for note in notes] == [1, 1]
    assert writer.call(lambda _: 7) == 7
    assert "a bug in told" in caplog.text


def test_a_listener_with_a_bug_does_not_end_the_thread(writer: Writer) -> None:
    writer.on_commit = bug
    assert writer.call(lambda _: 7) == 7
    assert writer.call(lambda _: 8) == 8


def test_errands_answer(writer: Writer) -> None:
    after: list[str] = []
    assert writer.call(lambda _: 5, lambda: after.append("then")) == 5
    assert after == ["then"]
    assert writer.call(lambda connection: connection.in_transaction) is True
    assert writer.call(lambda connection: connection.in_transaction, transaction=False) is False


@pytest.mark.parametrize("transaction", [True, False])
def test_errands_raise(writer: Writer, transaction: bool) -> None:
    after: list[str] = []
    with pytest.raises(ZeroDivisionError):
        writer.call(lambda _: 1 // 0, lambda: after.append("then"), transaction=transaction)
    assert after == []


@pytest.mark.parametrize("transaction", [True, False])
def test_what_follows_an_errand_raises_where_it_is_waited_for(writer: Writer, transaction: bool) -> None:
    with pytest.raises(LookupError):
        writer.call(lambda _: 1, bug, transaction=transaction)
    assert writer.call(lambda _: 7) == 7


def test_errands_between_commits_go_first(writer: Writer) -> None:
    between: Errand[list[int]] = Errand(numbers, None, transaction=False)
    together(writer, Note(1), lambda: writer.submit(between), Note(2))
    assert between.result() == []


def test_a_failed_commit(writer: Writer, caplog: pytest.LogCaptureFixture) -> None:
    """A deferred constraint fails at COMMIT only, when all statements have succeeded."""
    writer.call(lambda connection: connection.execute("PRAGMA foreign_keys=1"), transaction=False)
    writer.call(
        lambda connection: connection.execute(
            "CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"
        )
    )
    writer.call(lambda connection: connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)"))
    with pytest.raises(StorageFailed, match="could not commit: FOREIGN KEY"):
        writer.call(lambda connection: connection.execute("INSERT INTO child VALUES (5)").rowcount)
    assert writer.call(lambda connection: connection.execute("SELECT count(*) FROM child").fetchone()) == (0,)


def test_a_rollback_that_fails(writer: Writer, caplog: pytest.LogCaptureFixture) -> None:
    def no_rollback(action: int, argument: str | None, *_: object) -> int:
        forbidden = (action, argument) == (sqlite3.SQLITE_TRANSACTION, "ROLLBACK")
        return sqlite3.SQLITE_DENY if forbidden else sqlite3.SQLITE_OK

    writer.call(lambda connection: connection.set_authorizer(no_rollback), transaction=False)
    with pytest.raises(ZeroDivisionError):
        writer.call(lambda _: 1 // 0)
    assert "rolling back failed" in caplog.text
    writer.call(lambda connection: connection.set_authorizer(None), transaction=False)
    with pytest.raises(StorageFailed, match="cannot start a transaction within a transaction"):
        writer.call(lambda _: 1)
    assert writer.call(lambda _: 1) == 1


# Closing. -----------------------------------------------------------------------------------------------------------


def test_closing_commits_what_was_queued(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "numbers.db", isolation_level=None, check_same_thread=False)
    connection.execute("CREATE TABLE number (value INTEGER)")
    writer = Writer(connection, "numbers")

    class Successor(Note):
        """Queues another work, as an appender does that had no room for all."""

        def run(self, connection: sqlite3.Connection) -> None:
            super().run(connection)
            writer.submit(last)

    last, first = Note(2), Successor(1)
    closed: list[bool] = []
    closer = threading.Thread(target=lambda: closed.append(writer.close(10)))
    together(writer, first, closer.start)
    closer.join(10)
    assert closed == [True]
    assert (first.told, last.told) == (["committed"], ["committed"])
    with pytest.raises(StorageFailed, match="the database is closed"):
        writer.submit(Note(3))
    with pytest.raises(StorageFailed, match="the database is closed"):
        writer.call(lambda _: 1)
    with sqlite3.connect(tmp_path / "numbers.db") as reader:
        assert numbers(reader) == [1, 2]
    reader.close()


def test_closing_does_not_wait_for_ever(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "numbers.db", isolation_level=None, check_same_thread=False)
    writer, go_on = Writer(connection, "numbers"), threading.Event()
    writer.submit(Errand(lambda _: go_on.wait(10), None, transaction=False))
    assert writer.close(0.01) is False
    go_on.set()
    assert writer.close(10) is True
