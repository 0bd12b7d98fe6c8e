"""Ahead: calls made a few at a time, whose results come in order."""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")

Call = Callable[[], Awaitable[T]]


class _Result(Generic[T]):
    """What a call comes to, once it has."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._value: list[T] = []

    async def make(self, call: Call[T]) -> None:
        self._value.append(await call())
        self._done.set()

    async def wait(self) -> T:
        await self._done.wait()
        return self._value[0]


@trio.as_safe_channel
async def in_order(calls: Iterable[Call[T]], at_once: int) -> AsyncGenerator[T, None]:
    """Yield what the calls come to, in their order; ``at_once`` of them are under way or wait to be taken.

    The first error ends it; as any nursery's it comes in a group.
    """
    left = iter(calls)
    waiting: deque[_Result[T]] = deque()
    async with trio.open_nursery() as nursery:

        def begin() -> None:
            for call in left:
                waiting.append(_Result())
                nursery.start_soon(waiting[-1].make, call)
                return

        for _ in range(at_once):
            begin()
        while waiting:
            value = await waiting.popleft().wait()
            yield value
            begin()
