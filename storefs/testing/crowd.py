"""A crowd: programs that change one tree at random through several mounts at once, and what must be left of it.

python -m storefs.testing.crowd FOLDER LOG --member N --seed N --operations N [--patient]

Each member works on one mount. It draws from few names, so that members collide, and it writes before and after each
operation into a log what it does and what came of it. Files consist of cells of 32 bytes: a cell names the member, the
operation and the seed that wrote it and its place in what was written. All lengths and offsets are whole cells, so a
file's bytes tell where they come from, and a file with anything else in it (but zeros) is damaged.

What has to be there at the end is what ``missing`` says; the names are made for it. A name's first letter is its
class, and files keep to their class when they are renamed or linked. Of each class names are removed and replaced up to
some time only; from then on nothing of it may get lost.
"""

import argparse
import contextlib
import ctypes
import errno
import json
import math
import os
import random
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storefs.errors import StorefsError

CELL = 32
_CELL = re.compile(rb"m(\d\d) n(\d{8}) s([0-9a-f]{8}) c(\d{6})\n")
_ZEROS = bytes(CELL)

_CLASSES = "abcd"
_NAMES = 4
_DIRECTORIES = ("k0", "k1", "k2")
_SMALL_CELLS, _LARGE_CELLS = 200, 20_000
_LARGE_SHARE, _FSYNC_SHARE, _ODD_SHARE = 0.02, 0.15, 0.03
_BACK_S = 60.0
_PAUSE_S = 0.02
_AT_FDCWD, _NOREPLACE = -100, 1

WEIGHTS = {
    "create": 14, "unique": 3, "put": 10, "append": 10, "patch": 5, "cut": 4, "replace": 8, "unlink": 9, "move": 7,
    "rename": 6, "move_directory": 4, "rename_directory": 3, "link": 6, "symlink": 3, "mkdir": 9, "rmdir": 5,
    "chmod": 3, "set_xattr": 3, "remove_xattr": 1, "look": 8, "list": 4,
}  # fmt: skip
"""How often each operation comes."""

_REMOVING = frozenset({"unlink", "rename", "rename_directory", "replace"})
"""They take a name from a file: ``unlink`` the one that it is given, the others that of ``to``."""

_OVERWRITING = frozenset({"put", "patch", "cut"})
_WRITING = frozenset({"create", "unique", "put", "append", "patch", "replace"})

_COLLISIONS = frozenset(
    {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EPERM, errno.EINVAL,
     errno.ENODATA, errno.ESTALE}
)  # fmt: skip
"""Errors that the others, or chance, explain; a call that fails so has done nothing. (ESTALE is the kernel's own answer
to the rename of a directory that it finds moved elsewhere while it holds the lock for that.)"""

_CALLS: dict[str, Callable[[Path, Path], object]] = {
    "unlink": lambda at, _: at.unlink(),
    "rename": lambda at, to: at.rename(to),
    "rename_directory": lambda at, to: at.rename(to),
    "link": lambda at, to: os.link(at, to, follow_symlinks=False),
    "symlink": lambda at, to: at.symlink_to(to.name),
    "remove_xattr": lambda at, _: os.removexattr(at, "user.0", follow_symlinks=False),
    "mkdir": lambda at, _: at.mkdir(),
    "rmdir": lambda at, _: at.rmdir(),
}
"""Operations that are one call; the others are methods of ``Member``."""

_GONE = frozenset({errno.ENOTCONN, errno.ECONNABORTED})

_libc = ctypes.CDLL(None, use_errno=True)


def cells(member: int, number: int, seed: int, count: int) -> bytes:
    """Return what operation ``number`` of a member writes: ``count`` cells."""
    head = b"m%02d n%08d s%08x c" % (member, number, seed)
    return b"".join(b"%b%06d\n" % (head, index) for index in range(count))


class Unexplained(StorefsError):
    """A call failed with an error that no collision explains, or a file has bytes that nobody wrote."""


class Member:
    """One member of the crowd, at work in ``folder``, a directory of its mount, writing its log elsewhere.

    A ``patient`` one waits for the mount to be back when its daemon is gone.
    """

    def __init__(self, folder: Path, log: Path, member: int, seed: int, operations: int, *, patient: bool) -> None:
        self._folder = folder
        self._log = log
        self._member = member
        self._seed = seed & 0xFFFFFFFF
        self._operations = operations
        self._patient = patient
        self._chance = random.Random(f"{seed}/{member}")
        self._number = 0
        self._note: dict[str, Any] = {}
        self._daemon = 0

    def run(self) -> None:
        """Do all operations. Raises Unexplained, and OSError when the mount does not come back."""
        verbs, weights = list(WEIGHTS), list(WEIGHTS.values())
        if self._patient:
            self._daemon = self._await_daemon()
        with self._log.open("w", buffering=1, encoding="ascii") as log:
            for number in range(self._operations):
                self._number = number
                (verb,) = self._chance.choices(verbs, weights)
                self._step(verb, lambda line: log.write(json.dumps(line) + "\n"))

    def _step(self, verb: str, note: Callable[[dict[str, Any]], object]) -> None:
        kind = self._chance.choice(_CLASSES if self._chance.random() > _ODD_SHARE else "k")
        if not self._may_remove(kind):
            verb = {"unlink": "append", "rename": "move", "replace": "create"}.get(verb, verb)
        at, to = self._path(kind), self._path(kind)
        if verb in {"mkdir", "rmdir", "move_directory", "rename_directory", "list"}:
            at, to = self._directory(), self._directory()
        elif verb == "unique":
            at = f"{self._parent()}u-{self._member}-{self._number}"
        self._note = {"number": self._number, "verb": verb, "at": at, "to": to, "begin_s": time.monotonic()}
        note(self._note)
        error = None
        try:
            (_CALLS.get(verb) or getattr(self, f"_{verb}"))(self._folder / at, self._folder / to)
        except OSError as raised:
            error = raised
        self._note |= {"end_s": time.monotonic(), "error": error.errno if error is not None else 0}
        note(self._note)
        if error is not None and error.errno not in _COLLISIONS:
            self._explain(error)

    def _explain(self, error: OSError) -> None:
        """Return if the daemon has died under a call, once there is another. Raises Unexplained."""
        # In-flight reads of pages fail with EIO when the daemon dies.
        if not self._patient or error.errno not in {*_GONE, errno.EIO}:
            raise Unexplained(f"{self._note}: {error}")
        daemon = self._await_daemon()
        if daemon == self._daemon:
            raise Unexplained(f"{self._note}: {error}, and the daemon is the same as before")
        self._daemon = daemon

    def _await_daemon(self) -> int:
        until_s = time.monotonic() + _BACK_S
        while True:
            try:
                status = json.loads((self._folder.parent / ".storefs" / "status").read_bytes())
                return int(status["pid"])
            except (OSError, ValueError):  # between two daemons the bare directory may show
                if time.monotonic() > until_s:
                    raise
                time.sleep(_PAUSE_S)

    # --- names --------------------------------------------------------------------------------------------------------

    def _may_remove(self, kind: str) -> bool:
        """Whether files of a class are still removed and replaced: of each for a fifth longer, of the last to 80 %."""
        return kind not in _CLASSES or self._number * 5 < self._operations * (_CLASSES.index(kind) + 1)

    def _parent(self) -> str:
        (depth,) = self._chance.choices((0, 1, 2), (40, 45, 15))
        return "".join(self._chance.choice(_DIRECTORIES) + "/" for _ in range(depth))

    def _path(self, kind: str) -> str:
        return f"{self._parent()}{kind}{self._chance.randrange(_NAMES if kind in _CLASSES else len(_DIRECTORIES))}"

    def _directory(self) -> str:
        return self._parent() + self._chance.choice(_DIRECTORIES)

    # --- operations on contents ---------------------------------------------------------------------------------------

    def _open(self, path: Path, flags: int) -> int:
        opened = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._note["ino"] = os.fstat(opened).st_ino
        return opened

    def _draw(self) -> bytes:
        most = _LARGE_CELLS if self._chance.random() < _LARGE_SHARE else _SMALL_CELLS
        return cells(self._member, self._number, self._seed, self._chance.randint(1, most))

    def _write(self, opened: int, offset: int | None = None) -> None:
        """Write new cells, perhaps fsync; note how many and whether the file still has a name."""
        data = self._draw()
        done = 0
        while done < len(data):
            part = data[done:]
            done += os.write(opened, part) if offset is None else os.pwrite(opened, part, offset + done)
        self._note["cells"] = len(data) // CELL
        if self._chance.random() < _FSYNC_SHARE:
            os.fsync(opened)
            self._note["synced"] = True
        # Asks the daemon, unlike stat. Without a name it was removed elsewhere before the write.
        with contextlib.suppress(FileNotFoundError):
            os.getxattr(opened, "user.storefs.info")
            self._note["named"] = True

    def _create(self, at: Path, _to: Path) -> None:
        with _closing(self._open(at, os.O_WRONLY | os.O_CREAT | os.O_EXCL)) as opened:
            self._write(opened)

    _unique = _create

    def _put(self, at: Path, _to: Path) -> None:
        with _closing(self._open(at, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)) as opened:
            self._write(opened)

    def _append(self, at: Path, _to: Path) -> None:
        with _closing(self._open(at, os.O_WRONLY | os.O_CREAT | os.O_APPEND)) as opened:
            self._write(opened)

    def _patch(self, at: Path, _to: Path) -> None:
        with _closing(self._open(at, os.O_WRONLY)) as opened:
            self._write(opened, self._chance.randrange(_SMALL_CELLS) * CELL)

    def _cut(self, at: Path, _to: Path) -> None:
        with _closing(self._open(at, os.O_WRONLY)) as opened:
            os.ftruncate(opened, self._chance.randrange(_SMALL_CELLS) * CELL)

    def _replace(self, at: Path, to: Path) -> None:
        new = at.with_name(f"{at.name}~{self._member}-{self._number}")
        with _closing(self._open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL)) as opened:
            self._write(opened)
        new.rename(to)

    def _look(self, at: Path, _to: Path) -> None:
        at.lstat()
        with _closing(os.open(at, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)) as opened:
            data = os.pread(opened, 1 << 20, 0)
        for cell in _split(data):
            if cell != _ZEROS and not _CELL.fullmatch(cell):
                raise Unexplained(f"{self._note}: there is {cell!r}")

    # --- operations on names and attributes ---------------------------------------------------------------------------

    def _move(self, at: Path, to: Path) -> None:
        if _libc.renameat2(_AT_FDCWD, os.fsencode(at), _AT_FDCWD, os.fsencode(to), _NOREPLACE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    _move_directory = _move

    def _chmod(self, at: Path, _to: Path) -> None:
        if not at.is_symlink():
            at.chmod(self._chance.choice((0o600, 0o644, 0o755, 0o700)))

    def _set_xattr(self, at: Path, _to: Path) -> None:
        value = b"%d-%d" % (self._member, self._number)
        os.setxattr(at, f"user.{self._chance.randrange(3)}", value, follow_symlinks=False)

    def _list(self, at: Path, _to: Path) -> None:
        with _closing(os.open(at, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as opened:
            for path in at.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    path.lstat()
            if self._chance.random() < _FSYNC_SHARE:
                os.fsync(opened)


def _split(data: bytes) -> Iterator[bytes]:
    return (data[offset : offset + CELL] for offset in range(0, len(data), CELL))


def _class(path: str) -> str:
    return path.rpartition("/")[2][0]


@contextlib.contextmanager
def _closing(opened: int) -> Iterator[int]:
    try:
        yield opened
    finally:
        os.close(opened)


# --- the judgement ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as its member logged it; ``end_s`` is infinite if the log ends within it."""

    member: int
    number: int
    verb: str
    at: str
    to: str
    begin_s: float
    end_s: float = math.inf
    error: int = -1
    ino: int = 0
    cells: int = 0
    named: bool = False
    synced: bool = False

    def classes_removed(self) -> set[str]:
        """Return the classes of names that it may have removed or replaced."""
        if self.error in _COLLISIONS:
            return set()
        if self.verb in _REMOVING:
            return {_class(self.at if self.verb == "unlink" else self.to)}
        # An open may have truncated the file although its answer did not come.
        return {_class(self.at)} if self.verb == "put" and not self.ino else set()


def read_log(log: Path, member: int) -> list[Operation]:
    """Return the operations that a member began, in their order."""
    found: dict[int, dict[str, Any]] = {}
    for line in log.read_text(encoding="ascii").splitlines():
        fields = json.loads(line)
        found[fields["number"]] = fields
    return [Operation(member=member, **fields) for fields in found.values()]


def contents(root: Path) -> dict[str, bytes]:
    """Return what every file below ``root`` contains, by its path from there."""
    paths = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
    files = (path for path in paths if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def damaged(operations: Iterable[Operation], seed: int, files: dict[str, bytes]) -> list[str]:
    """Return the files that have something else in them than whole cells of these operations, and zeros."""
    heads = {cells(one.member, one.number, seed & 0xFFFFFFFF, 1)[:-7] for one in operations if one.verb in _WRITING}
    found = ((name, cell) for name, data in files.items() for cell in _split(data) if cell != _ZEROS)
    return [f"{name}: {cell!r}" for name, cell in found if cell[:-7] not in heads or not _CELL.fullmatch(cell)]


def guarded(operations: Collection[Operation]) -> list[Operation]:
    """Return the operations whose cells must be found at the end, whole, in some file.

    That is each acknowledged write to a file that had a name after it, unless some operation that ended after the write
    began may have destroyed it: a put, patch or cut of the same inode; or an unlink or replacement of any name of the
    file's class, for what another mount has at a name at that moment nobody can know, but files keep to their class.
    Operations that ended before the write began cannot excuse its loss. If the write did not know of them, both were
    concurrent, and no concurrent change destroys a write: a removal gives way to it, and of two contents one becomes
    a conflict copy, whose name no member uses. Appends destroy nothing. All times are of one machine's clock.
    """
    removals: dict[str, list[Operation]] = {}
    overwrites: dict[int, list[Operation]] = {}
    for one in operations:
        for kind in one.classes_removed():
            removals.setdefault(kind, []).append(one)
        if one.verb in _OVERWRITING and one.ino:
            overwrites.setdefault(one.ino, []).append(one)

    def stays(write: Operation) -> bool:
        if write.verb not in _WRITING or not (write.cells and write.named):
            return False
        # A replacement removes what had the name, not the file that it has just written.
        others = [*removals.get(_class(write.at), ()), *overwrites.get(write.ino, ())]
        return all(one.end_s < write.begin_s for one in others if one is not write)

    return [one for one in operations if stays(one)]


def missing(operations: Collection[Operation], seed: int, files: dict[str, bytes]) -> list[Operation]:
    """Return the writes that must be in some file (see ``guarded``) and are not."""
    lost = []
    starts: dict[bytes, list[tuple[str, int]]] = {}
    for name, data in files.items():
        for place, cell in enumerate(_split(data)):
            if cell.endswith(b"c000000\n"):
                starts.setdefault(cell, []).append((name, place * CELL))
    for one in guarded(operations):
        wanted = cells(one.member, one.number, seed & 0xFFFFFFFF, one.cells)
        places = starts.get(wanted[:CELL], [])
        if not any(files[name].startswith(wanted, offset) for name, offset in places):
            lost.append(one)
    return lost


def main() -> None:
    """Be a member; end with 1 and a word about it when something cannot be explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path)
    for name in ("member", "seed", "operations"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--patient", action="store_true", help="wait for a daemon that is gone to be back")
    given = parser.parse_args()
    try:
        Member(given.folder, given.log, given.member, given.seed, given.operations, patient=given.patient).run()
    except (Unexplained, OSError) as error:
        sys.exit(f"member {given.member} of seed {given.seed}: {error}")


if __name__ == "__main__":
    main()
