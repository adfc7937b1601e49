"""What the gateway tells of itself on /metrics."""

from collections.abc import Callable
from typing import Any

from mirubato.receiver.handler import Counts
from mirubato.storage.appending import Appender
from mirubato.storage.sealing import Sealer
from mirubato.storage.store import SampleStore
from mirubato.web.own_metrics import OwnMetrics, Reading

# Seconds; an fsync is 0.6 ms on an SSD and 10 ms on a disk that turns.
_COMMIT_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]


def measure_doors(metrics: OwnMetrics, counts: Counts) -> None:
    """Requests, what was accepted and what was rejected."""
    metrics.counter(
        "mirubato.received.items",
        "",
        "Points, spans and log records that were accepted",
        lambda: [(count, {"signal": signal}) for signal, count in list(counts.accepted.items())],
    )
    metrics.counter(
        "mirubato.rejected.items",
        "",
        "Points, spans and log records that were rejected, by reason",
        lambda: [
            (count, {"signal": signal, "reason": reason}) for (signal, reason), count in list(counts.rejected.items())
        ],
    )
    metrics.counter(
        "mirubato.requests",
        "",
        "Requests by door, signal and result",
        lambda: [
            (count, {"door": door, "signal": signal, "result": result})
            for (door, signal, result), count in list(counts.requests.items())
        ],
    )
    metrics.counter(
        "mirubato.received",
        "By",
        "Bodies of requests, as they came",
        lambda: [(count, {"signal": signal}) for signal, count in list(counts.bytes.items())],
    )


def measure_storage(metrics: OwnMetrics, store: SampleStore, sealer: Sealer, appender: Appender[Any, Any]) -> None:
    """Series, samples, bytes, commits."""
    metrics.gauge("mirubato.series", "", "Active series", one(lambda: store.registry.active))
    metrics.gauge("mirubato.unsealed.samples", "", "Not yet in blocks", one(lambda: store.recent.samples))
    metrics.counter("mirubato.sealed.samples", "", "Put into blocks", one(lambda: sealer.sealed_samples))
    metrics.gauge("mirubato.storage", "By", "Size of the samples file and its log", one(store.bytes))
    metrics.gauge("mirubato.queue", "By", "Requests that wait to be committed", one(lambda: appender.waiting_bytes))
    record = metrics.histogram("mirubato.commit.duration", "s", "One commit, fsync included", _COMMIT_BOUNDS)
    store.writer.on_commit = record


def one(read: Callable[[], float]) -> Reading:
    """A reading of one number without attributes."""
    return lambda: [(read(), {})]
