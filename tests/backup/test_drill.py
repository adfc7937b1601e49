"""The drill: a backup under load, the gateway killed, its disk lost, the backup restored, the same questions asked."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from mirubato.database import backup
from tests.test_kill import GAUGE, Client, gateway, load, samples_of, wait_for

pytestmark = pytest.mark.slow


def run(directory: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "mirubato", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_restore_drill(tmp_path: Path) -> None:
    clients = [Client(number) for number in range(2)]
    with gateway(tmp_path / "data") as process, load(clients, process):
        wait_for(clients, 200)
        before = [client.acknowledged for client in clients]
        run(tmp_path, "backup", "copy", "--data-dir", "data")
        wait_for(clients, 100)
        process.kill()
    run(tmp_path, "restore", "copy", "--data-dir", "restored")
    with gateway(tmp_path / "data") as original, gateway(tmp_path / "restored") as restored:
        for client, acknowledged in zip(clients, before, strict=True):
            question = f'{GAUGE}{{client="{client.number}"}}[1h]'
            kept = {one["metric"]["series"]: samples_of(one) for one in original.query(question)}
            back = {one["metric"]["series"]: samples_of(one) for one in restored.query(question)}
            assert back.keys() == kept.keys()
            for series, samples in back.items():
                assert set(client.times[:acknowledged]) <= samples.keys()
                newest = max(samples)
                assert samples == {at: value for at, value in kept[series].items() if at <= newest}
                assert len(samples) < len(kept[series])


ACCOUNTS, STEP_PAGES = 2000, 100


def test_a_copy_is_of_one_moment_and_ends_while_others_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts between which another connection moves money all the time: a copy that began anew would not end."""
    monkeypatch.setattr(backup, "_STEP_PAGES", STEP_PAGES)
    path, enough = tmp_path / "ledger.db", threading.Event()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, filler BLOB)")
        file.executemany(
            "INSERT INTO account VALUES (?, 100, ?)", [(number, b"x" * 4000) for number in range(ACCOUNTS)]
        )

    def transfer() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as file:
            file.execute("PRAGMA synchronous=OFF")
            number = 0
            while not enough.is_set():
                number += 1
                file.execute("BEGIN IMMEDIATE")
                file.execute("UPDATE account SET balance = balance - 1 WHERE id = ?", (number % ACCOUNTS,))
                file.execute("UPDATE account SET balance = balance + 1 WHERE id = ?", ((number * 7) % ACCOUNTS,))
                file.execute("COMMIT")

    thread = threading.Thread(target=transfer)
    thread.start()
    steps: list[int] = []
    (tmp_path / "copy").mkdir()
    try:
        backup.copy([path], tmp_path / "copy", lambda _, done, total: steps.append(done))
    finally:
        enough.set()
        thread.join()
    with closing(sqlite3.connect(tmp_path / "copy" / "ledger.db")) as file:
        assert file.execute("SELECT sum(balance), count(*) FROM account").fetchone() == (100 * ACCOUNTS, ACCOUNTS)
    assert steps == sorted(steps)
    assert ACCOUNTS // STEP_PAGES < len(steps) < 2 * ACCOUNTS // STEP_PAGES
