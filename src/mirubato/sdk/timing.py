"""Measures a request around a block or a function, sync or async."""

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
GIVEN_UP = 499  # nginx' word for a client that did not wait; cancellation is that


class Tracked(Protocol):
    """What a timing reports to."""

    def __call__(self, status: int, duration_ms: float, error: object, metadata: Mapping[str, Any], /) -> None: ...


class Timing:
    """One measured request; `status` and `metadata` may be set until it ends. One at a time per object."""

    def __init__(self, track: Tracked, metadata: Mapping[str, Any]) -> None:
        self._track = track
        self.metadata: dict[str, Any] = dict(metadata)
        self.status = 200
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        duration_ms = (time.perf_counter() - self._began) * 1e3
        if kind is None:
            self._track(self.status, duration_ms, None, self.metadata)
        elif issubclass(kind, Exception):
            self._track(500, duration_ms, kind, self.metadata)
        elif issubclass(kind, asyncio.CancelledError):
            self._track(GIVEN_UP, duration_ms, None, self.metadata)
        else:  # the process is leaving, or a generator was closed: no answer of its own
            self._track(self.status, duration_ms, None, self.metadata)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, where)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, measured at every call; an integer `status_code` or `status` of its result is the status."""
        if inspect.iscoroutinefunction(function):
            return cast("Callable[P, R]", self._around_async(function))

        @functools.wraps(function)
        def measured(*arguments: P.args, **named: P.kwargs) -> R:
            with Timing(self._track, self.metadata) as one:
                answer = function(*arguments, **named)
                one.take_status(answer)
            return answer

        return measured

    def _around_async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def measured(*arguments: Any, **named: Any) -> Any:
            with Timing(self._track, self.metadata) as one:
                answer = await function(*arguments, **named)
                one.take_status(answer)
            return answer

        return measured

    def take_status(self, answer: object) -> None:
        """The status that a response object says, if it does."""
        for name in ("status_code", "status"):
            status = getattr(answer, name, None)
            if isinstance(status, int):
                self.status = status
                return
