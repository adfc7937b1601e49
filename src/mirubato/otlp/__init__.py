"""Bytes of an OTLP request -> a batch of samples and the points that were rejected. Pure: no I/O, time is an argument."""
