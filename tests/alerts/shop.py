"""A service whose requests fail as often as a test wants, over OTLP."""

import httpx
from opentelemetry.proto.metrics.v1.metrics_pb2 import Histogram, HistogramDataPoint, Metric

from tests.support.requests import CUMULATIVE, attributes, metrics, now_ms

RULE = {
    "name": "High Error Rate",
    "metric": "error_rate",
    "condition": "greater_than",
    "threshold": 0.05,
    "window_minutes": 5,
    "severity": "critical",
    "notification_channels": ["slack", "pagerduty"],
}
"""The mission's own example."""


class Shop:
    """Counts up: `fail` and `succeed` are requests since the start."""

    def __init__(self, url: str, service: str = "shop") -> None:
        self.url, self.service, self.began = url, service, now_ms() - 60_000
        self.good = self.bad = 0

    def send(self, good: int, bad: int) -> None:
        """So many more requests of each kind."""
        self.good, self.bad = self.good + good, self.bad + bad
        points = [
            self._point(self.good, {"http.response.status_code": "200", "http.route": "/ok"}),
            self._point(self.bad, {"http.response.status_code": "500", "http.route": "/pay"}),
        ]
        histogram = Histogram(aggregation_temporality=CUMULATIVE, data_points=points)
        request = metrics(
            Metric(name="http.server.request.duration", unit="s", histogram=histogram),
            resource={"service.name": self.service},
        )
        headers = {"content-type": "application/x-protobuf"}
        httpx.post(f"{self.url}/v1/metrics", content=request.SerializeToString(), headers=headers).raise_for_status()

    def _point(self, count: int, labels: dict[str, str]) -> HistogramDataPoint:
        return HistogramDataPoint(
            start_time_unix_nano=self.began * 1_000_000,
            time_unix_nano=now_ms() * 1_000_000,
            count=count,
            sum=count / 10,
            explicit_bounds=[1.0],
            bucket_counts=[count, 0],
            attributes=attributes(labels),
        )
