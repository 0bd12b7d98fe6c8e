"""A crew: a few tasks that share one list of work."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

from storefs.errors import StorefsError

T = TypeVar("T")


async def each(items: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Run ``work`` on every item, on ``at_once`` of them at a time; ``items`` may be longer than memory.

    The first StorefsError is raised, once what was begun has ended; nothing more is begun then.
    """
    left = iter(items)
    failures: list[StorefsError] = []

    async def run() -> None:
        for item in left:
            try:
                await work(item)
            except StorefsError as error:
                failures.append(error)
            if failures:
                return

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(run)
    if failures:
        raise failures[0]
