"""The heartbeat: how late the event loop comes to its tasks."""

import logging

import trio

log = logging.getLogger(__name__)

_BEAT_S = 0.1
_WARN_S = 1.0


class Heartbeat:
    """Measures how long the loop was held up by something that should have been handed to a thread.

    Attributes:
        stall_s: the longest delay since the status was last asked for.
    """

    def __init__(self) -> None:
        self.stall_s = 0.0

    async def run(self) -> None:
        """Beat for as long as the mount lives."""
        while True:
            due_s = trio.current_time() + _BEAT_S
            await trio.sleep_until(due_s)
            late_s = trio.current_time() - due_s
            self.stall_s = max(self.stall_s, late_s)
            if late_s > _WARN_S:
                log.warning("the event loop stood still for %.1f s", late_s)

    def take(self) -> float:
        """Return the longest delay since the last call, in seconds."""
        stall_s, self.stall_s = self.stall_s, 0.0
        return stall_s
