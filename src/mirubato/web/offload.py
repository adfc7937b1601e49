"""Work that would hold up the event loop goes to a pool of threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


async def offload(pool: Executor, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Call a function in a thread of `pool`, for whoever asks here."""
    return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, function, *arguments)
