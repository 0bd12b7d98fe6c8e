"""How a file is read, told by the reads alone: in order, by one reader or by several at a time, or here and there.

The kernel opens files by itself, so nobody says which reads belong together. A read that begins where another ended
goes on with that one's stream. How much of what follows a stream will be wanted is guessed from how much of it was read
in order so far, as the kernel does for its own files: little where samples are drawn, much where all is read.
"""

from collections import OrderedDict

STREAMS_MAX = 16
"""How many readers in order are told apart in one file."""

_NEAR_BYTES = 4 << 20
"""Reads this far from where one was expected still belong to a stream with such a window: the kernel sends its own
read-ahead out of order.
"""

_FIRST_WINDOW = 1 << 20
_RUN_BYTES_MIN = 256 << 10
"""From so much in order on, a stream is read ahead. At the start of a file it is at once."""

_WINDOW_PER_RUN = 8

_LEFT_READS = 2 * STREAMS_MAX
"""A stream that was not read for so many reads of the file was left: those that go on come again before that."""


class Stream:
    """What is read in order.

    Attributes:
        start: where it began, bytes, or was taken up again after it was left.
        next: where the next read is expected.
        run: how many bytes it had read before the last read: one read says nothing of the next.
        window: how much behind ``next`` is worth to be fetched; 0 while it is too short to tell.
        fetched: up to where that was done.
    """

    __slots__ = ("_last", "_read", "fetched", "next", "run", "start", "window")

    def __init__(self, start: int, window: int) -> None:
        self.start = self.next = self.fetched = start
        self._read = self.run = self._last = 0
        self.window = window

    def go_on(self, start: int, end: int, number: int) -> None:
        """Take in that ``start`` to ``end`` are read, by the read of this number."""
        if self._last and number > self._last + _LEFT_READS:
            self.start = start
        self._last = number
        self.run, self._read = self.run + self._read, end - start
        self.next = max(self.next, end)

    @property
    def is_long(self) -> bool:
        """Whether it is read ahead: it went on for long enough, or has a window from its beginning."""
        return self.window > 0 or self.run >= _RUN_BYTES_MIN

    def widen(self, most: int) -> None:
        """Let the window of a long stream grow as it goes on, up to ``most`` bytes."""
        self.window = min(most, max(_FIRST_WINDOW, self.window, min(2 * self.window, _WINDOW_PER_RUN * self.run)))


class Streams:
    """The streams of one file, those read last.

    Attributes:
        jumps: how many reads went on with none of them.
        last: the stream of the last read.
    """

    __slots__ = ("_reads", "_streams", "jumps", "last")

    def __init__(self) -> None:
        self._streams: OrderedDict[int, Stream] = OrderedDict()
        """By where each is expected to go on."""
        self.last: Stream | None = None
        self.jumps = self._reads = 0

    def note(self, start: int, end: int, *, jump_window: int) -> Stream:
        """Return the stream that a read of ``start`` to ``end`` belongs to, with that read.

        One that begins with a jump has ``jump_window``.
        """
        stream = self._streams.pop(start, None) or self._near(start, end)
        if stream is None:
            first = self.last is None
            self.jumps += not first
            stream = Stream(start, _FIRST_WINDOW if first and start == 0 else jump_window)
        self._reads += 1
        stream.go_on(start, end, self._reads)
        self._streams[stream.next] = stream
        if len(self._streams) > STREAMS_MAX:
            self._streams.popitem(last=False)
        self.last = stream
        return stream

    def _near(self, start: int, end: int) -> Stream | None:
        """Take the stream out of the list that a read belongs to without being the expected one."""
        for expected, stream in self._streams.items():
            if stream.window:
                near = min(stream.window, _NEAR_BYTES)
                if start <= expected + near and end + near >= expected:
                    return self._streams.pop(expected)
        return None
