"""Kept traces and error logs, in traces.db: the tail decision, search, and the way back to OTLP."""
