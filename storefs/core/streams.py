"""How a file is read, told by the reads alone: in order, by one reader or by several at a time, or here and there.

The kernel opens files by itself, so nobody says which reads belong together. A read that begins where another ended
goes on with that one's stream. How much of what follows a stream will be wanted is guessed from how much of it was read
in order so far, as the kernel does for its own files: little where samples are drawn, much where all is read.
"""

from collections import OrderedDict

STREAMS_MAX = 64
"""How many readers in order are told apart in one file. With one more, each is forgotten before he goes on."""

_NEAR_BYTES = 4 << 20
"""Reads this far from where one was expected still belong to a stream with such a window: the kernel sends its own
read-ahead out of order.
"""

_FIRST_WINDOW = 1 << 20
_RUN_BYTES_MIN = 256 << 10
"""From so much in order on, a stream is read ahead. At the start of a file it is at once."""

_WINDOW_PER_RUN = 8

_LEFT_BYTES = 256 << 20
"""A stream was left when so much of the file was read since: who goes on comes again before that, even if he waits for
the store and many others do not. Who begins where it ended does so by chance.
"""


class Stream:
    """What is read in order.

    Attributes:
        start: where it began, bytes.
        next: where the next read is expected.
        run: how many bytes it had read before the last read: one read says nothing of the next.
        read: how much of the file had been read by anybody when it was read last, bytes.
        window: how much behind ``next`` is worth to be fetched; 0 while it is too short to tell.
        fetched: up to where that was done.
    """

    __slots__ = ("_length", "fetched", "next", "read", "run", "start", "window")

    def __init__(self, start: int, window: int) -> None:
        self.start = self.next = self.fetched = start
        self._length = self.run = self.read = 0
        self.window = window

    def go_on(self, start: int, end: int, read: int) -> None:
        """Take in that ``start`` to ``end`` are read, as the last of ``read`` bytes of the file."""
        self.read = read
        self.run, self._length = self.run + self._length, end - start
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

    __slots__ = ("_ahead", "_read", "_streams", "jumps", "last")

    def __init__(self) -> None:
        self._streams: OrderedDict[int, Stream] = OrderedDict()
        """By where each is expected to go on."""
        self._ahead: dict[Stream, None] = {}
        """Those with a window: where only samples are drawn there is none to be looked through."""
        self.last: Stream | None = None
        self.jumps = self._read = 0

    def note(self, start: int, end: int, *, jump_window: int) -> Stream:
        """Return the stream that a read of ``start`` to ``end`` belongs to, with that read.

        One that begins with a jump has ``jump_window``.
        """
        if self.last is not None and self.last.window:
            self._ahead[self.last] = None
        self._read += end - start
        stream = self._streams.pop(start, None) or (self._near(start, end) if self._ahead else None)
        if stream is not None and stream.read + _LEFT_BYTES < self._read:
            self._ahead.pop(stream, None)
            stream = None
        if stream is None:
            first = self.last is None
            self.jumps += not first
            stream = Stream(start, _FIRST_WINDOW if first and start == 0 else jump_window)
        stream.go_on(start, end, self._read)
        if stream.next in self._streams:  # it caught up with another, or went the same way
            self._ahead.pop(self._streams.pop(stream.next), None)
        self._streams[stream.next] = stream
        if len(self._streams) > STREAMS_MAX:
            self._ahead.pop(self._streams.popitem(last=False)[1], None)
        self.last = stream
        return stream

    def _near(self, start: int, end: int) -> Stream | None:
        """Take the stream out of the list that a read belongs to without being the expected one."""
        for stream in self._ahead:
            near = min(stream.window, _NEAR_BYTES)
            if start <= stream.next + near and end + near >= stream.next:
                return self._streams.pop(stream.next)
        return None
