"""Workers Analytics Engine: event points, the layout of their slots, OTel <-> event points, writers, SQL.

A room of its own: it needs the standard library, opentelemetry-api and opentelemetry-sdk, and no server code.
"""

from mirubato.analytics_engine.binding_writer import BindingWriter
from mirubato.analytics_engine.event_points import EventPoint, Limits, current_limits, problem
from mirubato.analytics_engine.exporter import AnalyticsEngineMetricExporter
from mirubato.analytics_engine.http_writer import HttpWriter, Patience
from mirubato.analytics_engine.layout import Layout, default_layout, drift, load_layout
from mirubato.analytics_engine.reading import Reading, joined, read
from mirubato.analytics_engine.writers import Writer

__all__ = [
    "AnalyticsEngineMetricExporter",
    "BindingWriter",
    "EventPoint",
    "HttpWriter",
    "Layout",
    "Limits",
    "Patience",
    "Reading",
    "Writer",
    "current_limits",
    "default_layout",
    "drift",
    "joined",
    "load_layout",
    "problem",
    "read",
]
