"""Mirubato Monitoring: OpenTelemetry in, right numbers, alerts and costs out."""

from mirubato.sdk.batch import BatchMetricWriter
from mirubato.sdk.monitor import Monitor, create_monitor
from mirubato.sdk.rates import adaptive_sample_rate

__all__ = ["BatchMetricWriter", "Monitor", "adaptive_sample_rate", "create_monitor"]
