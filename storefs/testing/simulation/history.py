"""History: what was written to files by whom, and what must be found of it in the end.

Whoever changes a file's content sees one version of it and makes the next. So versions form lines, and a line forks
where two mounts go on from the same version. What a mount is asked for is held against four rules:

1. **One line.** Every content that any mount ever shows is a version, or lies on one line of versions: each of its
   bytes is what some version of that line has there. The second half is for what another mount sees of a file that is
   cut while it is written. Bytes of two mounts that did not know of each other are never in one file.
2. **No loss.** A version that was made by a write, and from which nobody went on, is the content of some file in the
   end, unless a mount that showed exactly this version removed or replaced a name of its file. Writes to a file that
   has no name on the writing mount are exempt.
3. **fsync.** If a mount loses its disk, its versions since its last fsync are exempt. The last one before is not: it
   is found, or with a part of the exempt ones on top.
4. **In order.** A file that was written, closed, and renamed into place is whole wherever the name is seen.

Names are not followed here, and a removal of one of several names counts as one of the last: both only make the rules
weaker. So a failure is always one.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

UNIT = 16
"""Every write begins and ends at a multiple of so many bytes, and says who made it once in each."""

_MARK = re.compile(rb"(\d+)\.(\d{5}):")


class Violation(AssertionError):
    """A rule was broken: the engine is wrong, or the rule."""


def fill(mount: int, number: int, length: int) -> bytes:
    """Return what the write ``number`` of a mount consists of."""
    head = b"%d.%05d:" % (mount, number)
    return (head + blake2b(head, digest_size=UNIT - len(head)).digest()) * (length // UNIT)


def describe(content: bytes) -> str:
    """Say who wrote what of a content, in words."""
    runs: list[tuple[str, int, int]] = []
    for at in range(0, len(content), UNIT):
        unit = content[at : at + UNIT]
        mark = _MARK.match(unit)
        if mark is not None and fill(int(mark[1]), int(mark[2]), UNIT)[: len(unit)] == unit:
            who = f"write {int(mark[2])} of mount {int(mark[1])}"
        else:
            who = "parts of several" if any(unit) else "zeros"
        if runs and runs[-1][0] == who:
            runs[-1] = (who, runs[-1][1], at + len(unit))
        else:
            runs.append((who, at, at + len(unit)))
    return "; ".join(f"{start}-{end}: {who}" for who, start, end in runs) or "empty"


@dataclass(eq=False, slots=True)
class Version:
    """A content that a mount made of another one.

    Attributes:
        parent: the version it was made of.
        mount: who made it; None for what was only seen.
        owed: whether rule 2 asks for it.
        removed: whether a mount that showed it removed a name of its file.
        durable, lost: whether an fsync came after it; whether it went with its mount's disk.
        next: what was made of it.
    """

    content: bytes
    parent: "Version | None"
    mount: int | None
    ino: int
    owed: bool
    removed: bool = False
    durable: bool = False
    lost: bool = False
    next: "list[Version]" = field(default_factory=list)

    def line(self) -> "Iterator[Version]":
        """Yield this version, the one before it, and so on."""
        at: Version | None = self
        while at is not None:
            yield at
            at = at.parent


class History:
    """All versions of all files."""

    def __init__(self) -> None:
        self._versions: list[Version] = []
        self._by_content: dict[bytes, list[Version]] = {}
        self._current: dict[tuple[int, int], Version] = {}
        self._numbers: dict[int, int] = {}
        self._published: set[bytes] = set()

    def number(self, mount: int) -> int:
        """Return the number of a mount's next write."""
        self._numbers[mount] = self._numbers.get(mount, 0) + 1
        return self._numbers[mount]

    def see(self, mount: int, ino: int, content: bytes) -> Version:
        """Return which version a mount shows of a file. Raises Violation if that is none."""
        current = self._current.get((mount, ino))
        if current is not None and current.content == content:
            return current
        same = self._by_content.get(content)
        if same is not None:
            found = next((one for one in reversed(same) if one.ino == ino), same[-1])
        elif not any(content):
            found = self._add(Version(content, None, None, ino, owed=False))
        else:
            line = next((tip for tip in self._tips() if _explains(tip.line(), content)), None)
            if line is None:
                raise Violation(f"mount {mount} shows what nobody wrote of inode {ino:#x}: {describe(content)}")
            found = self._add(Version(content, line, None, ino, owed=False))
        self._current[mount, ino] = found
        return found

    def change(self, mount: int, ino: int, before: bytes, steps: Iterable[bytes], *, owed: bool) -> None:
        """Note that a mount made of ``before`` each of ``steps`` in turn; the last one is ``owed``."""
        at = self.see(mount, ino, before)
        *passing, last = steps
        made = at
        for content in passing:
            made = self._add(Version(content, made, mount, ino, owed=False))
        made = self._add(Version(last, made, mount, ino, owed=owed))
        for one in self._by_content[before]:
            one.next.append(made)
        self._current[mount, ino] = made

    def remove(self, mount: int, ino: int, content: bytes) -> None:
        """Note that a mount that showed ``content`` removed a name of the file."""
        self.see(mount, ino, content)
        for one in self._by_content[content]:
            one.removed = True

    def publish(self, content: bytes) -> None:
        """Note that a file with this content is about to be closed, and then to be renamed into place."""
        self._published.add(content)

    def see_published(self, mount: int, ino: int, content: bytes) -> None:
        """Raise Violation unless that is all of a file that was renamed into place."""
        if content not in self._published:
            raise Violation(f"mount {mount} shows half of inode {ino:#x}: {describe(content)}")

    def see_published_bytes(self, commit: int, ino: int, length: int) -> None:
        """Raise Violation unless the extents that a commit has of such a file hold as much as all of one."""
        if length not in map(len, self._published):
            raise Violation(f"commit {commit} has a name, and {length} bytes of inode {ino:#x}")

    def mark(self) -> int:
        """Return a moment, for ``synced``."""
        return len(self._versions)

    def synced(self, mount: int, mark: int) -> None:
        """Note that an fsync of a mount which began at the moment ``mark`` succeeded."""
        for one in self._versions[:mark]:
            one.durable |= one.mount == mount

    def disk_lost(self, mount: int) -> None:
        """Note that a mount lost its disk."""
        for one in self._versions:
            one.lost |= one.mount == mount and not one.durable

    def check_end(self, contents: Iterable[bytes]) -> None:
        """Hold the contents of all files in the end against the rules. Raises Violation."""
        found = set(contents)
        for content in found:
            self.see(-1, 0, content)
        for one in self._versions:
            if one.owed and not one.lost and not self._is_accounted_for(one, found):
                raise Violation(
                    f"a version of inode {one.ino:#x} by mount {one.mount} is lost: {describe(one.content)}\n"
                    + self._story(one.ino)
                )

    def _is_accounted_for(self, version: Version, found: set[bytes]) -> bool:
        """Whether a version is there, or what became of it answers for it."""
        todo = [version]
        while todo:
            one = todo.pop()
            if one.content in found or one.removed or any(not later.lost for later in one.next):
                return True
            todo += one.next
        return self._is_below(version, found)

    def _story(self, ino: int) -> str:
        """Return all versions of a file, a line each."""
        numbers = {id(one): number for number, one in enumerate(self._versions)}
        return "\n".join(
            f"  {numbers[id(one)]} of {numbers.get(id(one.parent))} by {one.mount}"
            f"{' owed' * one.owed}{' removed' * one.removed}{' durable' * one.durable}{' lost' * one.lost}"
            f", next {[numbers[id(later)] for later in one.next]}: {describe(one.content)}"
            for one in self._versions
            if one.ino == ino
        )

    def _is_below(self, version: Version, found: set[bytes]) -> bool:
        """Whether a part of what was lost on top of a version is there, or somebody saw that and went on from it."""
        if not version.next:
            return False
        if any(not one.lost and one is not version and version in one.line() for one in self._versions):
            return True
        for tip in self._versions:
            line = list(tip.line()) if tip.lost else []
            if version in line and any(
                _explains(line[: line.index(version) + 1], content) for content in found if content
            ):
                return True
        return False

    def _add(self, version: Version) -> Version:
        self._versions.append(version)
        self._by_content.setdefault(version.content, []).append(version)
        return version

    def _tips(self) -> list[Version]:
        before = {id(one.parent) for one in self._versions}
        return [one for one in reversed(self._versions) if id(one) not in before]


def _explains(line: Iterable[Version], content: bytes) -> bool:
    """Whether every byte of a content is that of some version of a line. Behind its end a version has zeros."""
    left = list(range(len(content)))
    longest = 0
    for version in line:
        old = version.content
        longest = max(longest, len(old))
        left = [at for at in left if content[at] != (old[at] if at < len(old) else 0)]
        if not left and longest >= len(content):
            return True
    return False
