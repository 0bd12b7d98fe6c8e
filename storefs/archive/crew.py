"""A crew: a few tasks that share one stream of work."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

import trio

from storefs.errors import cause_of

T = TypeVar("T")


async def each(items: AsyncGenerator[T, None], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Run ``work`` on every item, on ``at_once`` of them at a time. The first error ends it, and is raised."""
    send, receive = trio.open_memory_channel[T](0)

    async def run(mine: trio.MemoryReceiveChannel[T]) -> None:
        async with mine:
            async for item in mine:
                await work(item)

    try:
        async with trio.open_nursery() as nursery, send, aclosing(items):
            async with receive:
                for _ in range(at_once):
                    nursery.start_soon(run, receive.clone())
            async for item in items:
                await send.send(item)
    except BaseExceptionGroup as error:
        raise cause_of(error) from None
