"""Bytes of an OTLP request -> a batch of samples and the points that were rejected. Pure; time is an argument."""
