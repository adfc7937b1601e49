"""Samples: series index, batches, blocks, in one SQLite file."""
