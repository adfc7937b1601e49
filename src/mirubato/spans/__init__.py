"""Spans and logs -> metrics with right counts: weights, RED, Cloudflare's native export, service graph. Pure."""
