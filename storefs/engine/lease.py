"""The lease: which mount does the upkeep.

An object that its holder replaces now and then. Who sees it unchanged for long enough takes it over. No clocks are
compared: everyone measures with his own how long the object has been the same. Nothing relies on there being one
holder only: two at a time do the same work twice.
"""

import json
import logging
import math

import trio

from storefs.core import keys
from storefs.engine.journal import Writer
from storefs.errors import ObjectMissing, PreconditionFailed
from storefs.ports import Clock, ObjectStore

log = logging.getLogger(__name__)

_PATIENCE = 1.5
"""How many terms a lease has to be unchanged before it is taken over."""


class Lease:
    """This mount's view of the lease."""

    def __init__(self, store: ObjectStore, clock: Clock, writer: Writer, term_s: float) -> None:
        self._store = store
        self._clock = clock
        self._writer = writer
        self._term_s = term_s
        self._tag = ""
        self._seen_s = -math.inf
        self._until_s = -math.inf

    @property
    def is_held(self) -> bool:
        """Whether this mount holds it now."""
        return trio.current_time() < self._until_s

    async def take(self) -> bool:
        """Take the lease, or keep it for another term, if it is not somebody else's; return whether it is ours.

        One or two requests. Raises the store's errors.
        """
        began_s = trio.current_time()
        try:
            if self.is_held:
                self._tag = await self._store.put_if_match(keys.LEASE, self._body(), self._tag)
                self._until_s = began_s + self._term_s
            else:
                await self._take_over(began_s)
        except PreconditionFailed:
            self._until_s = -math.inf
            return False
        return self.is_held

    async def _take_over(self, began_s: float) -> None:
        try:
            tag = (await self._store.head(keys.LEASE)).tag
        except ObjectMissing:
            self._tag = await self._store.put_if_absent(keys.LEASE, self._body())
            self._until_s = began_s + self._term_s
            return
        if tag != self._tag:
            self._tag, self._seen_s = tag, began_s
        if began_s - self._seen_s >= _PATIENCE * self._term_s:
            self._tag = await self._store.put_if_match(keys.LEASE, self._body(), tag)
            self._until_s = began_s + self._term_s

    def _body(self) -> bytes:
        until_ns = self._clock.now_ns() + int(self._term_s * 1e9)
        holder = {"node": self._writer.node, "boot": self._writer.boot.hex(), "until_ns": until_ns}
        return json.dumps(holder).encode() + b"\n"
