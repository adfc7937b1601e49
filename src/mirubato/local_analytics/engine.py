"""Statements in Analytics Engine's SQL -> its answers, by a ClickHouse engine (chdb) in a process of its own."""

import os
import re
import subprocess
import sys
import threading
from importlib.util import find_spec

import orjson

from mirubato.analytics_engine.dialect import dataset_of
from mirubato.errors import BadQuery, MirubatoError, QueryError
from mirubato.local_analytics.clickhouse import ClickHouse
from mirubato.local_analytics.store import EventPointStore

_SHOW = re.compile(r"SHOW\s+(TABLES|TIMEZONES|TIMEZONE)(?:\s+FORMAT\s+(\w+))?", re.IGNORECASE)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*$", re.IGNORECASE)
# Analytics Engine has it beside `quantileExactWeighted(q)(column, weight)`, ClickHouse has not.
_QUANTILE = re.compile(r"\bquantileWeighted\s*\(\s*([\d.]+)\s*,", re.IGNORECASE)
_FORMATS = {"json": "JSON", "jsoneachrow": "JSONEachRow", "tabseparated": "TabSeparated"}
_STATEMENT_CHARS_MAX = 10_240
_CLOSE_S = 2.0

CONTENT_TYPES = {
    "JSON": "application/json",
    "JSONEachRow": "application/x-ndjson",
    "TabSeparated": "text/tab-separated-values",
}


class NotInstalled(MirubatoError):
    """The engine is an extra that is not there."""


class LocalAnalytics:
    """Answers statements one at a time, from any thread: by ClickHouse, or by a process that starts with the first."""

    def __init__(self, store: EventPointStore, clickhouse: ClickHouse | None = None) -> None:
        self._store, self._clickhouse = store, clickhouse
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def answer(self, text: str) -> tuple[str, str]:
        """(body, content type). BadQuery for what the dialect has not, QueryError for what the engine refuses."""
        text = text.strip().removesuffix(";").strip()
        if len(text) > _STATEMENT_CHARS_MAX:
            raise BadQuery(f"a statement has at most {_STATEMENT_CHARS_MAX} characters")
        show = _SHOW.fullmatch(text)
        if show:
            return self._shown(show[1].upper(), _format(show[2] or "JSON"))
        dataset = dataset_of(text)
        found = _FORMAT.search(text)
        format_ = _format(found[1] if found else "JSON")
        selected = text[: found.start()] if found else text
        sql = _QUANTILE.sub(r"quantileExactWeighted(\1)(", selected) + f" FORMAT {format_}"
        if dataset is not None and dataset not in self._store.datasets():
            raise BadQuery(f"there is no dataset {dataset}: SHOW TABLES lists those that have event points")
        return self._asked(dataset, sql), CONTENT_TYPES[format_]

    def close(self) -> None:
        """End the engine's process."""
        with self._lock:
            if self._process is not None:
                self._end(self._process)

    def _shown(self, what: str, format_: str) -> tuple[str, str]:
        values = self._store.datasets() if what == "TABLES" else ["Etc/UTC"]
        name = {"TABLES": "dataset"}.get(what, "timezone")
        rows = [{name: value} for value in values]
        if format_ == "JSON":
            answer = {"meta": [{"name": name, "type": "String"}], "data": rows, "rows": len(rows)}
            body = orjson.dumps(answer).decode()
        elif format_ == "JSONEachRow":
            body = "".join(orjson.dumps(row).decode() + "\n" for row in rows)
        else:
            body = "".join(value + "\n" for value in values)
        return body, CONTENT_TYPES[format_]

    def _asked(self, dataset: str | None, sql: str) -> str:
        if self._clickhouse is not None and dataset is not None:
            return self._clickhouse.answer(dataset, sql)
        asked = orjson.dumps({"path": str(self._store.path), "dataset": dataset, "sql": sql}) + b"\n"
        with self._lock:
            process = self._started()
            assert process.stdin
            assert process.stdout
            try:
                process.stdin.write(asked)
                process.stdin.flush()
                answer = orjson.loads(process.stdout.readline())
            except (OSError, orjson.JSONDecodeError) as error:
                self._end(process)
                raise QueryError("the engine ended while it computed; the next statement starts it again") from error
        if "error" in answer:
            raise QueryError(answer["error"][:1000])
        return str(answer["text"])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            if find_spec("chdb") is None:
                raise NotInstalled("the local Analytics Engine needs chdb: pip install 'mirubato-monitoring[chdb]'")
            environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
            command = [sys.executable, "-m", "mirubato.local_analytics.engine_process"]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment)  # noqa: S603
        return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        process.kill()
        process.communicate(timeout=_CLOSE_S)


def _format(name: str) -> str:
    found = _FORMATS.get(name.lower())
    if found is None:
        raise BadQuery(f"FORMAT is one of {', '.join(_FORMATS.values())}")
    return found
