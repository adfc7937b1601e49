"""Usage and a dated price table -> report, projection, what-if."""
