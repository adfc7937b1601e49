"""What one invocation of a Worker takes, and how many spans there really were: asked in PromQL, of the last hour."""

from collections.abc import Callable, Mapping, Sequence

from mirubato.costs.metering import Query
from mirubato.costs.what_if import Spans
from mirubato.errors import QueryError
from mirubato.model.seams import Selector
from mirubato.promql.query import instant

_CPU_MS = (
    "1000 * histogram_quantile(0.99, sum by (script_name, le)"
    " (increase(cloudflare_worker_cpu_time_seconds_bucket[1h]))) >= 0"
)
_SPANS = "sum by (status_code) (increase(traces_span_metrics_calls_total[1h]))"


class Invocations:
    """Asks over a selector, in the thread that calls."""

    def __init__(self, selector: Selector, query: Query, now: Callable[[], int]) -> None:
        self._selector, self._query, self._now = selector, query, now

    def used(self) -> Mapping[str, Sequence[tuple[str, float]]]:
        """By the id of a limit: (of what, the 99th percentile of what an invocation took)."""
        return {"worker_cpu_ms": [(f"script={name}", ms) for name, ms in self._asked(_CPU_MS, "script_name")]}

    def spans(self) -> Spans:
        """Of the last hour, each weighted with how many it stands for."""
        by_status = dict(self._asked(_SPANS, "status_code"))
        failed = by_status.get("STATUS_CODE_ERROR", 0.0)
        return Spans(failed, sum(by_status.values()) - failed)

    def _asked(self, text: str, label: str) -> list[tuple[str, float]]:
        try:
            result = instant(self._selector, text, self._now(), self._query())
        except QueryError:
            return []
        return [(dict(one.labels).get(label, ""), one.values[0]) for one in result.series if one.values]
