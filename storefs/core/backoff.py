"""How long to wait before the next try."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter: waits grow from ``first_s`` by ``factor`` up to ``most_s`` seconds.

    See Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """

    first_s: float = 0.1
    factor: float = 2.0
    most_s: float = 5.0
    tries: int = 5

    def wait_s(self, failed: int, chance: float) -> float:
        """Return the wait after ``failed`` failures (from 1), given a random number ``chance`` between 0 and 1."""
        ceiling = min(self.most_s, self.first_s * self.factor ** min(failed - 1, 60))
        return ceiling * (0.5 + chance / 2)
