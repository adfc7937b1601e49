"""What other rooms know that helps in an alert's message."""

from collections.abc import Sequence

from mirubato.alerts.details import Deploy
from mirubato.gateway.tracing import Tracing
from mirubato.traces.reading import TraceFilter, find_traces

_DEPLOYS_MS = 86_400_000
_TRACES_MS = 600_000
_TRACES_MAX = 3


class Known:
    """Asks the traces and the deploys; from any thread."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def last_deploy(self, service: str, now: int) -> Deploy | None:
        """The newest of a service (empty: of all) within a day before a time in ms."""
        found = self._tracing.deploys.between(now - _DEPLOYS_MS, now, service, 1)
        return Deploy(f"{found[-1].service} {found[-1].version}", found[-1].time_ms) if found else None

    def failed_traces(self, service: str, now: int) -> Sequence[str]:
        """Ids of the newest kept traces of a service with an error, within ten minutes before a time in ms."""
        wanted = TraceFilter(start_ms=now - _TRACES_MS, end_ms=now, service=service, failed=True, limit=_TRACES_MAX)
        found = self._tracing.store.read(lambda connection: find_traces(connection, wanted))
        return [bytes(one["trace_id"]).hex() for one in found]
