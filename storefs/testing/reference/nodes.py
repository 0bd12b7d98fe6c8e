"""The nouns of the reference: files with their attributes, names, and times that are known to lie within bounds."""

import stat
from dataclasses import dataclass, field
from typing import NamedTuple

from storefs.testing.reference.content import Content


class Moment(NamedTuple):
    """A time in ns since 1970, known as precisely as two looks at a clock around it tell."""

    earliest: int
    latest: int

    def allows(self, time_ns: int) -> bool:
        """Whether a time may be this one."""
        return self.earliest <= time_ns <= self.latest

    def or_later(self, now: "Moment") -> "Moment":
        """Return the time of a change of which nobody says whether it counts: this time, or now."""
        return Moment(min(self.earliest, now.earliest), max(self.latest, now.latest))


@dataclass(eq=False, slots=True)
class Entry:
    """Where a name leads. Another name, or the same one made anew, is another entry."""

    ino: int


@dataclass(eq=False, slots=True)
class Node:
    """A file of any kind.

    Attributes:
        entries: of a directory: where its names lead.
        content: of a regular file.
        holders: how many have it open; with neither these nor a name it is gone.
    """

    ino: int
    mode: int
    uid: int
    gid: int
    atime: Moment
    mtime: Moment
    ctime: Moment
    rdev: int = 0
    target: bytes = b""
    content: Content = field(default_factory=Content)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    entries: dict[bytes, Entry] = field(default_factory=dict)
    holders: int = 0

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether this is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def size(self) -> int:
        """The size; of a directory it is the filesystem's own business."""
        return len(self.target) if stat.S_ISLNK(self.mode) else self.content.size


class Listing:
    """What a program that lists a directory page by page may be told, whatever comes and goes between the pages."""

    def __init__(self, directory: Node) -> None:
        self._directory = directory
        self._due = dict(directory.entries)
        self._told: set[Entry] = set()

    def tell(self, name: bytes, ino: int) -> str | None:
        """Take in one line of the listing; return what is wrong with it, or None."""
        entry = self._directory.entries.get(name)
        if entry is None or entry.ino != ino:
            return f"{name!r} does not lead to {ino}"
        if entry in self._told:
            return f"{name!r} is listed twice"
        self._told.add(entry)
        return None

    def missing(self) -> list[bytes]:
        """Return the names that were there throughout and were not listed, now that the listing has ended."""
        now = self._directory.entries
        return [name for name, entry in self._due.items() if now.get(name) is entry and entry not in self._told]
