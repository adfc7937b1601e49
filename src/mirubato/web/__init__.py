"""The reading doors: Prometheus API, exposition, history, health."""
