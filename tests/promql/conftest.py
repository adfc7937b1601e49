"""The oracle, one process for all tests; skipped with the reason where it cannot be had."""

from collections.abc import Iterator

import pytest

from tests.promql.oracle import Oracle, prometheus


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    """Prometheus' own engine, with the server's defaults and everything experimental."""
    with Oracle(prometheus("oracle")) as one:
        yield one
