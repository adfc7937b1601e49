"""A result of a check as samples, under the names of Prometheus' blackbox exporter. Pure."""

import numpy as np

from mirubato.admission.columns import LEAD, Columns, Decoded
from mirubato.model.labels import NAME, Family, MetricType, labels_of
from mirubato.model.samples import Kind
from mirubato.model.seams import PointRefused, SeriesRegistry
from mirubato.probes.checking import Result
from mirubato.probes.targets import Target

SUCCESS = Family("probe_success", MetricType.GAUGE, help="Whether the check was a success")
DURATION = Family("probe_duration_seconds", MetricType.GAUGE, "seconds", "How long the check took")
STATUS = Family("probe_http_status_code", MetricType.GAUGE, help="Status of the answer, 0 if there was none")
EXPIRY = Family(
    "probe_ssl_earliest_cert_expiry", MetricType.GAUGE, "seconds", "When the server's certificate ends, since 1970"
)


def decoded(registry: SeriesRegistry, target: Target, result: Result) -> Decoded:
    """Its samples as columns; what is past a limit on series is counted as rejected."""
    values: dict[Family, float] = {
        SUCCESS: float(result.success),
        DURATION: result.duration_s,
        STATUS: float(result.status),
    }
    if result.certificate_expiry_s is not None:
        values[EXPIRY] = result.certificate_expiry_s
    found = Decoded(points=len(values))
    slots, taken = [], []
    for family, value in values.items():
        pairs = [(NAME, family.name), ("instance", target.instance), ("service_name", target.name)]
        try:
            slots.append(registry.propose(labels_of(pairs), Kind.FLOAT, family))
            taken.append(value)
        except PointRefused as refused:
            found.rejected[refused.reason] += 1
    found.columns.append(_columns(slots, taken, result.time_ms))
    return found


def _columns(slots: list[int], values: list[float], time_ms: int) -> Columns:
    count = len(slots)
    return Columns(
        np.array(slots, np.int64),
        np.full(count, time_ms * 1_000_000, np.uint64),
        np.zeros(count, np.uint64),
        np.array(values, np.float64),
        np.full(count, LEAD, np.uint8),
    )
