"""Endpoints about the server itself, and those that are empty here because nothing is scraped."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from mirubato.errors import BadQuery
from mirubato.model.seams import Selector
from mirubato.promql.query import QueryBudget
from mirubato.web.parameters import Parameters
from mirubato.web.prometheus_answers import Answer
from mirubato.web.times import rfc3339

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
        started = rfc3339(self._started)
        return Answer(
            {
                "startTime": started,
                "CWD": "",
                "hostname": "",
                "serverTime": rfc3339(self._now()),
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
