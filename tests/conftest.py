"""Gateways for tests that need one: a shared one with the default settings, and one with small bounds."""

from collections.abc import Iterator

import pytest

from tests.support.gateways import Running, running

SMALL_BODY_BYTES = 32 * 1024


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The default settings; tests take names of their own (`tests.support.requests.fresh`)."""
    with running(tmp_path_factory.mktemp("gateway")) as one:
        yield one


@pytest.fixture(scope="session")
def small_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Bodies of at most 32 KiB."""
    with running(tmp_path_factory.mktemp("small"), max_body_bytes=SMALL_BODY_BYTES) as one:
        yield one


@pytest.fixture(scope="session")
def broken_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Its file cannot be written any more."""
    with running(tmp_path_factory.mktemp("broken")) as one:
        # What it logs in the background would stand in the logs of other tests.
        one.gateway.sealer.then = lambda now: None
        one.gateway.store.writer.call(lambda file: file.execute("PRAGMA query_only=1"), transaction=False)
        yield one
