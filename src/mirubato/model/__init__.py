"""The words that all rooms share: labels, batches, matchers, and the seams between rooms."""
