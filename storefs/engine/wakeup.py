"""A wake-up call that is not lost when nobody waits for it yet."""

import trio


class Wakeup:
    """``ring`` lets the next ``wait`` (or the one under way) return. Several rings before it count as one."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Wake whoever waits, or the next who does."""
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, ``timeout_s`` at most; return whether it came."""
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        rung = self._event.is_set()
        self._event = trio.Event()
        return rung
