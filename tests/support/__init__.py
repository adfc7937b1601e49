"""What several test rooms share: gateways that run in a thread, OTLP requests, and clients for each door."""
