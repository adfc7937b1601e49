"""Work that would hold up the event loop goes to a pool of threads."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# How long a thread may compute before it gives way, in seconds. While a query is computed, replies wait for it: 1 ms
# halves the longest wait. Otherwise Python's own 5 ms: threads that take turns less often save 5 % of ingest's CPU.
_GENTLE_S = 0.001
_USUAL_S = 0.005


async def offload(pool: Executor, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Call a function in a thread of `pool`, for whoever asks here."""
    with _computing():
        return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, function, *arguments)


_under_way: set[object] = set()


@contextmanager
def _computing() -> Iterator[None]:
    """Entered and left on the event loop alone."""
    one = object()
    if not _under_way:
        sys.setswitchinterval(_GENTLE_S)
    _under_way.add(one)
    try:
        yield
    finally:
        _under_way.discard(one)
        if not _under_way:
            sys.setswitchinterval(_USUAL_S)
