"""Endpoints about the server itself, and those that are empty here because nothing is scraped and no rule runs yet."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mirubato.errors import BadQuery
from mirubato.model.seams import Selector
from mirubato.promql.parser import parse_matchers
from mirubato.promql.query import QueryBudget
from mirubato.web.parameters import Parameters, flag
from mirubato.web.prometheus_answers import Answer

PROMETHEUS_VERSION = "3.14.0"
"""Whose API and PromQL this is; clients look for what they may ask."""

_ENTRIES_DEFAULT = 10
_ENTRIES_MAX = 10_000


class Status:
    """What the server is and holds."""

    def __init__(self, selector: Selector, now: Callable[[], int], version: str) -> None:
        self._selector, self._now, self._version = selector, now, version
        self._started = now()

    def buildinfo(self, _: Parameters, __: QueryBudget) -> Answer:
        """The version. No `features`: with them Grafana would take this for Mimir and look for a ruler."""
        keys = ("revision", "branch", "buildUser", "buildDate", "goVersion")
        about = {"version": PROMETHEUS_VERSION, **dict.fromkeys(keys, "")}
        return Answer(about | {"application": f"mirubato {self._version}"})

    def runtimeinfo(self, _: Parameters, __: QueryBudget) -> Answer:
        """What of Prometheus' own runtime there is here."""
        started = _rfc3339(self._started)
        return Answer(
            {
                "startTime": started,
                "CWD": "",
                "hostname": "",
                "serverTime": _rfc3339(self._now()),
                "reloadConfigSuccess": True,
                "lastConfigTime": started,
                "corruptionCount": 0,
                "goroutineCount": threading.active_count(),
                "GOMAXPROCS": os.cpu_count() or 1,
                "GOMEMLIMIT": 0,
                "GOGC": "",
                "GODEBUG": "",
                "storageRetention": "",
            }
        )

    def config(self, _: Parameters, __: QueryBudget) -> Answer:
        """Nothing is scraped: a configuration without jobs."""
        return Answer({"yaml": "global: {}\n"})

    def tsdb(self, parameters: Parameters, _: QueryBudget) -> Answer:
        """How many series, and of what there is most: up to `limit` entries of each kind."""
        head = self._selector.head(_entries(parameters.text("limit")))
        return Answer(
            {
                "headStats": {
                    "numSeries": head.series,
                    "numLabelPairs": head.label_pairs,
                    "chunkCount": head.chunks,
                    "minTime": head.time_low,
                    "maxTime": head.time_high,
                },
                "seriesCountByMetricName": _stats(head.by_metric),
                "labelValueCountByLabelName": _stats(head.by_label),
                "memoryInBytesByLabelName": _stats(head.sizes),
                "seriesCountByLabelValuePair": _stats(head.by_pair),
            }
        )


def rules(parameters: Parameters, _: QueryBudget) -> Answer:
    """No groups; parameters that are wrong are told."""
    for text in parameters.all("match[]"):
        parse_matchers(text)
    kind = parameters.text("type").lower()
    if kind not in ("", "alert", "record"):
        raise BadQuery(f'invalid parameter "type": not supported value "{kind[:60]}"')
    flag(parameters.single, "exclude_alerts")
    _check_paging(parameters.single)
    return Answer({"groups": []})


def _check_paging(parameters: Mapping[str, str]) -> None:
    token, most = parameters.get("group_next_token"), parameters.get("group_limit")
    if token and not most:
        raise BadQuery(
            'invalid parameter "group_next_token": group_limit needs to be present in order to paginate over the groups'
        )
    if not most:
        return
    if not most.removeprefix("-").isdecimal():
        raise BadQuery('invalid parameter "group_limit": group_limit needs to be a valid number')
    if int(most[:10]) <= 0:
        raise BadQuery('invalid parameter "group_limit": group_limit needs to be greater than 0')
    if token:
        raise BadQuery(
            f"invalid parameter \"group_next_token\": invalid group_next_token '{token[:60]}'."
            " were rule groups changed?"
        )


def constant(data: Any) -> Callable[[Parameters, QueryBudget], Answer]:
    """An endpoint that always answers the same."""
    return lambda _, __: Answer(data)


def _entries(text: str) -> int:
    try:
        most = int(text or _ENTRIES_DEFAULT)
    except ValueError:
        most = 0
    if most < 1:
        raise BadQuery("limit must be a positive number")
    if most > _ENTRIES_MAX:
        raise BadQuery(f"limit must not exceed {_ENTRIES_MAX}")
    return most


def _stats(entries: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"name": name, "value": count} for name, count in entries]


def _rfc3339(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
