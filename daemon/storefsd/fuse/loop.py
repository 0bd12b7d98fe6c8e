"""The request loop: waiting for the kernel's next request, cheaply and without ever freezing.

Replaces the wait of pyfuse3 (a module-level function that its workers look up by name). Its own takes a lock and waits
in epoll before every request, and then reads from a blocking descriptor: when the process that asked is killed in
between, the read blocks, holding the interpreter's lock, until the next request comes. Asking poll(2) right before the
read costs less, and answers for the moment: nothing happens between the answer and the read.
"""

import os
import select

import pyfuse3
import trio

_REQUESTS_IN_A_ROW = 32
"""After so many requests without a pause the other tasks get their turn."""

_LOOKS = 128
"""How often to look for the next request before sleeping: somebody who just got an answer often asks again at once, and
falling asleep and waking up costs more than all these looks."""

_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class RequestLoop:
    """The workers' wait, and the end of it. One of them sleeps on the descriptor, the others are parked.

    Attributes:
        requests: how many requests the kernel has sent.
    """

    def __init__(self) -> None:
        self._fd = _session_fd()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._parked = trio.lowlevel.ParkingLot()
        self._is_watched = False
        self._in_a_row = 0
        self._closing = False
        self.requests = 0
        pyfuse3._wait_fuse_readable = self._wait  # type: ignore[attr-defined] # noqa: SLF001

    async def run(self) -> None:
        """Serve requests until the mount is gone or ``stop`` is called."""
        await pyfuse3.main()

    def stop(self) -> None:
        """Let ``run`` return once the requests under way are answered."""
        self._closing = True
        pyfuse3.terminate()
        self._parked.unpark_all()

    async def _wait(self) -> bool:
        """Return True when a request can be read at once, False when the loop ends."""
        while not self._closing:
            self._in_a_row += 1
            if self._in_a_row >= _REQUESTS_IN_A_ROW:
                self._in_a_row = 0
                await trio.lowlevel.checkpoint()
            if self._is_readable():
                self.requests += 1
                return True
            self._in_a_row = 0
            if self._is_watched:
                await self._parked.park()
                continue
            self._is_watched = True
            try:
                await trio.lowlevel.wait_readable(self._fd)
            except trio.ClosedResourceError:
                return False
            finally:
                self._is_watched = False
                # This worker may be held up by what it is asked now: another one takes over the watch.
                self._parked.unpark()
        return False

    def _is_readable(self) -> bool:
        for _ in range(_LOOKS):
            events = self._poll.poll(0)
            if events:
                if events[0][1] & _GONE:  # the mount: each worker finds that out by its read
                    self._parked.unpark_all()
                return True
        return False


def _session_fd() -> int:
    """Return the descriptor of this process's mount: pyfuse3 keeps it to itself."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are descriptors, not files
        try:
            if os.readlink(f"/proc/self/fd/{name}") == "/dev/fuse":  # noqa: PTH115
                found.append(int(name))
        except OSError:
            continue
    assert len(found) == 1, f"expected one descriptor of /dev/fuse, found {found}"
    return found[0]
