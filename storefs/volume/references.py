"""Which inodes are in use: the kernel's lookup counts."""


class References:
    """Counts, per inode, how often the kernel was told of it and has not forgotten it yet."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, ino: int) -> bool:
        return ino in self._counts

    def add(self, ino: int) -> None:
        """Count one more reference."""
        self._counts[ino] = self._counts.get(ino, 0) + 1

    def remove(self, ino: int, count: int) -> bool:
        """Take ``count`` references away; return whether none is left."""
        left = self._counts.get(ino, 0) - count
        if left > 0:
            self._counts[ino] = left
            return False
        self._counts.pop(ino, None)
        return True
