"""Windows: payloads of a shard read in order, those that lie close together with one request."""

from collections.abc import AsyncGenerator, Iterable

from storefs.archive.requests import Kind, Requests
from storefs.archive.shards import Shard
from storefs.core.ranges import Span, coalesce
from storefs.shard.format import InlineEntry

WINDOW_BYTES = 4 << 20
"""The longest window; a payload that is longer has one of its own."""

BATCH = 10_000
"""How many entries are best put in order at once."""

_GAP_BYTES = 64 << 10
"""Reading that much for nothing is cheaper than a request."""


async def payloads(
    requests: Requests, shard: Shard, entries: Iterable[InlineEntry]
) -> AsyncGenerator[tuple[InlineEntry, memoryview], None]:
    """Yield the entries with their payloads in the order in which they lie; one window is in memory at a time.

    A payload that comes short is left to who decodes it. Raises ObjectMissing when the shard is gone, and the store's
    other errors.
    """
    ordered = sorted(entries, key=lambda entry: entry.offset)
    spans = coalesce((Span(entry.offset, entry.end) for entry in ordered), _GAP_BYTES, WINDOW_BYTES)
    at = 0
    for span in spans:
        # Hostile entries overlap: one that lies in the window before was yielded with it.
        if at == len(ordered) or ordered[at].offset > span.start:
            continue
        data = b""
        if span.length:
            data = await requests.range(shard.store, shard.key, span.start, span.length, Kind.PAYLOAD)
        while at < len(ordered) and ordered[at].end <= span.end:
            begin = ordered[at].offset - span.start
            yield ordered[at], memoryview(data)[begin : begin + ordered[at].stored]
            at += 1
