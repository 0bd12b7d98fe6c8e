"""Ranges of bytes: a map of intervals, and the coalescing of neighbours into one request."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """The half-open range ``start`` to ``end``, in bytes."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many bytes it covers."""
        return self.end - self.start


def coalesce(spans: Iterable[Span], gap: int, limit: int) -> list[Span]:
    """Merge spans that lie within ``gap`` bytes of each other, into spans of at most ``limit`` bytes.

    A span that is longer than ``limit`` by itself stays whole. The result is in order and covers every input.
    """
    merged: list[Span] = []
    for span in sorted(spans, key=lambda one: one.start):
        last = merged[-1] if merged else None
        if last is not None and span.start <= last.end + gap and max(last.end, span.end) - last.start <= limit:
            merged[-1] = Span(last.start, max(last.end, span.end))
        else:
            merged.append(span)
    return merged


class SpanSet:
    """A set of bytes as disjoint, sorted, non-touching spans."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for span in spans:
            self.add(span.start, span.end)

    def __iter__(self) -> Iterator[Span]:
        return (Span(start, end) for start, end in zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    def __repr__(self) -> str:
        return f"SpanSet({list(self)})"

    def add(self, start: int, end: int) -> None:
        """Add the bytes ``start`` to ``end``."""
        if start >= end:
            return
        low = bisect_left(self._ends, start)
        high = bisect_right(self._starts, end)
        if low < high:
            start = min(start, self._starts[low])
            end = max(end, self._ends[high - 1])
        self._starts[low:high] = [start]
        self._ends[low:high] = [end]

    def covers(self, start: int, end: int) -> bool:
        """Whether every byte of ``start`` to ``end`` is in the set."""
        if start >= end:
            return True
        at = bisect_right(self._starts, start) - 1
        return at >= 0 and self._ends[at] >= end

    @property
    def total(self) -> int:
        """How many bytes are in the set."""
        return sum(self._ends) - sum(self._starts)
