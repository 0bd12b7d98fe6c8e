"""The trace of a run: what happened in which order, and its digest."""

from hashlib import blake2b

import trio


class Trace:
    """Notes what happens; two runs of one seed note the same."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, mount: int, what: str, *about: object) -> None:
        """Note what a mount did (0: what was done to all)."""
        self.lines.append(f"{trio.current_time():.6f} {mount} {what} {' '.join(map(str, about))}".rstrip())

    @property
    def digest(self) -> str:
        """Return what stands for the whole trace."""
        return blake2b("\n".join(self.lines).encode(), digest_size=16).hexdigest()
