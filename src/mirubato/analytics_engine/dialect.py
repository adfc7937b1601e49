"""What Analytics Engine's SQL has: an allow-list, because a ClickHouse that runs a statement proves nothing.

ClickHouse takes JOIN, UNION, CTEs, DDL, and file() reads what is on the disk. Source: developers.cloudflare.com/
analytics/analytics-engine/sql-reference (2026-11-23).
"""

import re
from typing import Final

from mirubato.errors import BadQuery


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_AGGREGATES = """
    count sum avg min max quantileExactWeighted quantileWeighted argMax argMin first_value last_value topK topKWeighted
    countIf sumIf avgIf
"""
_TIMES = """
    now today toDateTime toUnixTimestamp formatDateTime toStartOfInterval toStartOfYear toStartOfMonth toStartOfWeek
    toStartOfDay toStartOfHour toStartOfFifteenMinutes toStartOfTenMinutes toStartOfFiveMinutes toStartOfMinute toYear
    toMonth toDayOfMonth toDayOfWeek toHour toMinute toSecond toYYYYMM
"""
_OTHERS = """
    intDiv abs log round ceil floor pow bitAnd bitCount bitHammingDistance bitNot bitOr bitRotateLeft bitRotateRight
    bitShiftLeft bitShiftRight bitTest bitXor hex bin toUInt8 toUInt32 if lowerUTF8 upperUTF8 length empty substring
    position startsWith endsWith format
"""
FUNCTIONS: Final = _words(f"{_AGGREGATES} {_TIMES} {_OTHERS}".lower())
KEYWORDS: Final = _words(
    """
    SELECT FROM WHERE GROUP BY HAVING ORDER LIMIT ALL OFFSET FORMAT AS AND OR NOT IN BETWEEN LIKE ILIKE ASC DESC
    DISTINCT JSON JSONEACHROW TABSEPARATED INTERVAL SECOND MINUTE HOUR DAY WEEK MONTH QUARTER YEAR NULL TRUE FALSE
    """
)
# What ClickHouse could take as a clause if somebody called a column so: `1 AS INTO, 2 AS OUTFILE FROM a INTO ...`.
_NEVER_NAMES: Final = _words(
    """
    ALTER ANY APPLY ARRAY ASOF ATTACH BACKUP CAST CREATE CROSS CUBE DELETE DESCRIBE DETACH DROP EXCEPT EXISTS
    EXPLAIN FILL FINAL FULL GLOBAL GRANT INFILE INNER INSERT INTERSECT INTO JOIN KILL LATERAL LEFT ON OPTIMIZE OUTER
    OUTFILE OVER PARALLEL PASTE POPULATE PREWHERE QUALIFY RENAME REPLACE RIGHT ROLLUP SAMPLE SEMI SET SETTINGS SHOW
    SYSTEM TABLE THEN TOTALS TRUNCATE UNION UPDATE USE USING VALUES VIEW WATCH WHEN WINDOW WITH
    """
)
_TOKEN: Final = re.compile(
    r"\s+|('(?:[^'\\]|''|\\.)*')|([A-Za-z_]\w*)|(\d+(?:\.\d+)?(?:e[+-]?\d+)?)|(<=|>=|<>|!=|[-+*/%=<>(),])"
)
_COLUMN: Final = re.compile(r"dataset|timestamp|_sample_interval|index1|blob([1-9]|1\d|20)|double([1-9]|1\d|20)")
_DATASET: Final = re.compile(r"[A-Za-z_]\w{0,63}")
_CALL: Final = re.compile(r"\s*\(")


def outside_dialect(text: str) -> list[str]:
    """What of a statement the dialect does not have: characters, functions, words; empty if all is fine."""
    found, at = [], 0
    names = {"value", "t"} | set(re.findall(r"\b(?:AS|FROM)\s+(\w+)", text, re.IGNORECASE))
    while at < len(text):
        token = _TOKEN.match(text, at)
        if not token:
            found.append(text[at])
            at += 1
            continue
        at, word = token.end(), token[2]
        if word and not _is_known(word, names, is_call=bool(_CALL.match(text, at))):
            found += [word]
    return found


def _is_known(word: str, names: set[str], *, is_call: bool) -> bool:
    if word.upper() in KEYWORDS:
        return True
    if is_call:
        return word.lower() in FUNCTIONS
    return bool(_COLUMN.fullmatch(word)) or (word in names and word.upper() not in _NEVER_NAMES)


def check_dataset(name: str) -> str:
    """The name if Analytics Engine has such ones; BadQuery otherwise."""
    if not _DATASET.fullmatch(name) or name.upper() in KEYWORDS | _NEVER_NAMES:
        raise BadQuery(f"{name[:60]!r} is no name of a dataset: up to 64 letters, digits and _, not a word of SQL")
    return name


def dataset_of(text: str) -> str | None:
    """The dataset that a SELECT reads, None where it reads none. BadQuery for what is outside the dialect."""
    if not re.match(r"\s*SELECT\b", text, re.IGNORECASE):
        raise BadQuery("a statement is SELECT ..., SHOW TABLES, SHOW TIMEZONES or SHOW TIMEZONE")
    outside = outside_dialect(text)
    if outside:
        raise BadQuery(f"Analytics Engine's SQL has no {', '.join(sorted(set(outside))[:5])}")
    tables = set(re.findall(r"\bFROM\s+(\w+)", _without_texts(text), re.IGNORECASE))
    if len(tables) > 1:
        raise BadQuery(f"a statement reads one dataset, not {', '.join(sorted(tables))}")
    return check_dataset(tables.pop()) if tables else None


def _without_texts(text: str) -> str:
    return re.sub(r"'(?:[^'\\]|''|\\.)*'", "''", text)
