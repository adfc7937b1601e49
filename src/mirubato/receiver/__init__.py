"""The OTLP doors, gRPC and HTTP: framing only, and one handler behind both."""
