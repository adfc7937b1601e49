"""The doors of OTLP (gRPC and HTTP) and of remote write: framing only, and one handler behind all."""
