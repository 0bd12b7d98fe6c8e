"""Turns: a mount that commits without a break makes one now and then, for others to come to theirs.

The next number of the journal is for whoever is first, and nobody is nearer to it than who took the last one: he has
nothing to take in before. Of two mounts that sync all the time one would win for minutes, until the other's calls fail.
"""

_LOSER_S = 0.075
"""More than the longest wait of who has lost a race."""
_PUTS = 5
"""How long somebody else's turn takes, in puts: two reads of the journal, a shard, and the commit."""

_SHARE = 32
_STREAK_S = 10.0


class Turns:
    """Says when it is time for a break: after a streak of commits without one of others, or a pause, in between."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._last_s = 0.0
        self._break_s = 0.0

    def mine(self, began_s: float, ended_s: float) -> None:
        """Take note of a commit of this mount that was put from ``began_s`` to ``ended_s``."""
        if self._began_s is None or began_s - self._last_s > self._break_s:
            self._began_s = began_s
        self._last_s = ended_s
        self._break_s = _LOSER_S + _PUTS * (ended_s - began_s)

    def theirs(self) -> None:
        """Take note of a commit of others."""
        self._began_s = None

    def take_break_s(self) -> float:
        """Return how long to make a break now, mostly 0; it counts as made."""
        if self._began_s is None or self._last_s - self._began_s < min(_STREAK_S, _SHARE * self._break_s):
            return 0.0
        self._began_s = None
        return self._break_s
