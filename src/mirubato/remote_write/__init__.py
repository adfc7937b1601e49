"""Prometheus remote write, both versions: bytes -> columns of samples, histograms, exemplars, and what was rejected."""
