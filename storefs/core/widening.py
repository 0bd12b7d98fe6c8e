"""How much of a shard one request brings when a small file is wanted: more, the more of its neighbours were.

A request costs a wait, bytes cost bandwidth. Somebody who reads one file out of a shard shall not wait for the others;
somebody who goes through a data set reads them all, in whatever order. Renting until the rent has paid for the house is
never much worse than knowing in advance: the window doubles with every second miss, up to a bound, and shrinks again
when the shard is left alone. What the kernel was given it serves by itself, so misses are all that can be seen here.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from storefs.core.ranges import Span

Key = TypeVar("Key", bound=Hashable)

_MISSES_PER_STEP = 2
_HALF_LIFE_S = 30.0
_SHARDS_MAX = 4096


@dataclass(slots=True)
class _Interest:
    """How often a shard was missed lately, and as of when."""

    misses: float
    at_s: float


class Widening(Generic[Key]):
    """Decides windows. It knows as many shards as were missed last, up to a bound."""

    def __init__(self, least: int, most: int) -> None:
        """``least`` and ``most``: the smallest and the largest window, bytes, powers of two."""
        assert least > 0
        self._least = least
        self._most = max(least, most)
        self._shards: OrderedDict[Key, _Interest] = OrderedDict()

    def window(self, shard: Key, now_s: float) -> int:
        """Return the window for a miss in ``shard`` now, in bytes, and count the miss."""
        interest = self._shards.get(shard)
        if interest is None:
            interest = self._shards[shard] = _Interest(0.0, now_s)
            if len(self._shards) > _SHARDS_MAX:
                self._shards.popitem(last=False)
        self._shards.move_to_end(shard)
        interest.misses *= 0.5 ** ((now_s - interest.at_s) / _HALF_LIFE_S)
        interest.at_s = now_s
        steps = int(interest.misses) // _MISSES_PER_STEP
        interest.misses += 1
        return min(self._least << min(steps, 32), self._most)


def place_window(wanted: Span, window: int, end: int, *, onward: bool) -> Span:
    """Return the range to be fetched around ``wanted``: within the object's ``end``, ``window`` bytes long or so.

    ``onward`` starts it at what is wanted: what lies before is here already, as behind somebody who reads in order.
    Otherwise windows lie side by side, so that those of several misses do not overlap.
    """
    start = wanted.start if onward else wanted.start // window * window
    return Span(min(start, wanted.start), min(max(start + window, wanted.end), max(end, wanted.end)))
