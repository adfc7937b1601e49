"""What a forked child must not report again."""

import os
import threading
import weakref
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider


def forget_in_children(provider: MeterProvider) -> None:
    """Make children that are forked from now on start their counts at zero.

    The SDK re-starts its threads in a child and keeps what the parent had counted, which then arrives twice.
    """
    if not hasattr(os, "register_at_fork"):
        return
    weak = weakref.ref(provider)

    def in_child() -> None:
        if (inherited := weak()) is not None:
            forget(inherited)

    os.register_at_fork(after_in_child=in_child)


def forget(provider: MeterProvider) -> None:
    """Give every reader of the provider an empty storage, and the provider locks that no lost thread holds.

    There is no public way: the storages belong to the measurement consumer. Where an SDK has another inside, nothing is
    done, and tests/sdk/test_forks.py fails.
    """
    consumer: Any = getattr(provider, "_measurement_consumer", None)
    if not hasattr(consumer, "add_metric_reader"):
        return
    consumer._lock = threading.Lock()  # noqa: SLF001 - as the docstring says
    for reader in getattr(provider, "_metric_readers", ()):
        if hasattr(reader, "_export_lock"):
            reader._export_lock = threading.Lock()  # noqa: SLF001
        consumer.add_metric_reader(reader)
