"""Mirubato Monitoring: OpenTelemetry in, right numbers, alerts and costs out."""
