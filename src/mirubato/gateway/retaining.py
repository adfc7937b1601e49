"""Retention as the gateway joins it: settings, the sealer's thread, and what it tells of itself."""

from mirubato.config import Config
from mirubato.database.state import StateStore
from mirubato.gateway.measuring import one
from mirubato.storage.plain_rows import PlainRows
from mirubato.storage.retention import Retention, RetentionSettings
from mirubato.storage.sealing import Sealer
from mirubato.storage.store import SampleStore
from mirubato.web.own_metrics import OwnMetrics


def retaining(config: Config, store: SampleStore, sealer: Sealer, state: StateStore) -> Retention:
    """What keeps the samples file within the settings, from the next tick of the sealer on."""
    rows = PlainRows(store, state, config.rollup_metrics, (config.retention_hourly, config.retention_daily))
    settings = RetentionSettings(
        config.retention_raw, config.retention_hourly, config.retention_daily, config.max_storage_bytes
    )
    retention = Retention(store, sealer, settings, rows)
    sealer.then = retention.tick
    return retention


def measure_retention(metrics: OwnMetrics, store: SampleStore, sealer: Sealer, retention: Retention) -> None:
    """How far it has come, and what is wrong with the file."""
    metrics.counter(
        "mirubato.retention.steps", "", "Commits that moved or removed samples", one(lambda: retention.steps)
    )
    metrics.counter(
        "mirubato.retention.removed.series",
        "",
        "Series of which nothing was left",
        one(lambda: retention.removed_series),
    )
    metrics.gauge("mirubato.storage.over", "By", "Past MIRUBATO_MAX_STORAGE_BYTES", one(lambda: retention.over_bytes))
    metrics.gauge("mirubato.storage.damaged.blocks", "", "Left out of answers", one(lambda: len(store.damaged)))
    metrics.gauge("mirubato.sealing.failures", "", "In a row, since it last succeeded", one(lambda: sealer.failures))
