"""A mount's number in its store: claimed once for a cache, its nonce swapped at each start.

Numbers make inode numbers unique in the store without asking anyone. A cache directory that was copied to another
machine would give them out twice; the swap of the nonce finds that out, and the copy takes another number.
"""

import json
import logging

from storefs.core import keys
from storefs.engine.journal import Writer
from storefs.engine.listing import listed
from storefs.errors import Corrupt, ObjectMissing, PreconditionFailed
from storefs.ports import Chance, Clock, ObjectStore
from storefs.tree.tree import Tree

log = logging.getLogger(__name__)

NODE_MAX = (1 << 23) - 1
"""node << 40 has to stay below 2^63."""


async def claim(tree: Tree, store: ObjectStore, clock: Clock, chance: Chance, host: str, *, fresh: bool) -> Writer:
    """Return this start's number and nonce, claimed in the store.

    ``fresh`` asks for a new number in any case: after a power cut the counters of the old one may have gone back.
    """
    boot = chance.token(16)
    body = json.dumps({"boot": boot.hex(), "time_ns": clock.now_ns(), "host": host}).encode() + b"\n"
    number = tree.local.get("node")
    if isinstance(number, int) and not fresh and await _swap(tree, store, number, body):
        writer = Writer(number, boot)
    else:
        writer = Writer(await _take_new(store, body), boot)
    with tree.database.transaction():
        tree.local.put("node", writer.node)
        tree.local.put("boot", writer.boot)
    return writer


async def _swap(tree: Tree, store: ObjectStore, number: int, body: bytes) -> bool:
    """Swap this start's nonce in; False when the number is no longer (or not only) ours."""
    key = keys.node(number)
    try:
        tag = (await store.head(key)).tag
        claimed = json.loads(await store.get(key))["boot"]
        previous = tree.local.get("boot")
        if not isinstance(previous, bytes) or claimed != previous.hex():
            log.warning("node %d was started from another copy of this cache directory: taking a new number", number)
            return False
        await store.put_if_match(key, body, tag)
    except (ObjectMissing, PreconditionFailed):
        return False
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{key} is not readable: {error!r}") from error
    return True


async def _take_new(store: ObjectStore, body: bytes) -> int:
    highest = 0
    async for found in listed(store, keys.NODES):
        try:
            highest = max(highest, keys.node_number(found.key))
        except ValueError:
            log.warning("ignoring the foreign object %s", found.key)
    while highest < NODE_MAX:
        highest += 1
        try:
            await store.put_if_absent(keys.node(highest), body)
        except PreconditionFailed:
            continue
        return highest
    raise Corrupt(f"the store has given out all {NODE_MAX} node numbers")
