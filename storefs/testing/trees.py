"""Generated trees: everything that a directory can hold, drawn from a seed, and what differs between two of them."""

import math
import os
import random
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from storefs.core.digest import digest

_KIB = 1024
_EDGES = (0, 1, 4095, 4096, 4097, 256 * _KIB - 1, 256 * _KIB, 256 * _KIB + 1)
"""Sizes at which pages and chunks begin and end."""

_ODD_NAMES = (
    b" blanks at both ends ", b"two\nlines", b"tab\tand\x01control", b"-rf", b"--help", b"con", b"nul.txt", b"...",
    b".hidden", b"~", b"#hash#", b"*?[a-z]", b"$HOME", b"back\\slash", b"'quotes\"", b"a;b|c&d", b"%41%2f",
    b"trailing.", b"CASE", b"case", b"1" * 255, "ä".encode() * 127 + b"y", b"\xff\xfe not UTF-8", b"lost+found",
    "Ω-日本語-🦊".encode(), b"\xc3\xa9 composed", b"e\xcc\x81 decomposed", b".storefs~", b"file.conflict-1-2",
)  # fmt: skip
_SUFFIXES = (".bin", ".txt", ".jpg", ".json", ".tar.gz", "")
_FILE_MODES = (0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o666, 0o640, 0o4755, 0o2755, 0o400)
_DIRECTORY_MODES = (0o755, 0o755, 0o700, 0o2775, 0o1777, 0o555)
_OWNERS = ((0, 0), (0, 0), (1000, 1000), (65534, 0), (0, 4_000_000_000))
_TARGETS = (
    b"/etc/hostname", b"/no/such/absolute/file", b"no/such/file", b"..", b".", b"./a//b/../c/", b"\xff\xfe",
    b"with blank\nand line", b"t" * 1000,
)  # fmt: skip
_LONGEST_TARGET = b"l" * 4095
_XATTRS = (
    ("user.empty", b""),
    ("user.text", b"value"),
    ("user.binary", b"\0\xff\0"),
    ("user.name in é", b"1"),
    ("user.long", b"v" * 1000),
)
_EARLY_NS, _LATE_NS = -1_500_000_001, 4_102_444_800_123_456_789
_DEEPEST = 8

_XATTR = "user extended attributes"
_EARLY = "times before 1970"
_LATE = "times after 2038"
_FIFO = "FIFOs"
_LONG_LINK = "symbolic links of 4095 bytes"
_ANY_OWNER = "owners of every number"


def make_tree(root: Path, seed: int, files: int, biggest: int) -> frozenset[str]:
    """Fill the new directory ``root`` with ``files`` regular files of 0 to ``biggest`` bytes, and with all the rest.

    Args:
        root: a directory to be made, or an empty one.
        seed: the same seed, counts, user and kind of filesystem make the same tree.
        files: how many regular files, hard links counted once.
        biggest: the size of the largest file; a few have just this size.

    Returns:
        What the filesystem under ``root`` cannot hold or this user cannot make, in words, and was therefore left out.
    """
    root.mkdir(parents=True, exist_ok=True)
    lacking = _probe(root)
    maker = _Maker(root, random.Random(seed), lacking)
    maker.make_directories(3 + files // 12)
    maker.make_files(files, biggest)
    maker.make_hard_links(files // 10)
    maker.make_symlinks(5 + files // 20)
    if _FIFO not in lacking:
        maker.make_fifos(2)
    maker.dress()
    return lacking


def _probe(root: Path) -> frozenset[str]:
    """Return what cannot be made under ``root``."""
    lacking = set()
    probe = root / "probe"
    probe.touch()
    try:
        os.setxattr(probe, "user.probe", b"1")
    except OSError:
        lacking.add(_XATTR)
    try:
        os.chown(probe, *_OWNERS[-1])
    except OSError:
        lacking.add(_ANY_OWNER)
    for what, time_ns in ((_EARLY, _EARLY_NS), (_LATE, _LATE_NS)):
        try:
            os.utime(probe, ns=(time_ns, time_ns))
        except OSError:
            lacking.add(what)
        else:
            if probe.lstat().st_mtime_ns != time_ns:
                lacking.add(what)
    probe.unlink()
    try:
        probe.symlink_to(os.fsdecode(_LONGEST_TARGET))
        probe.unlink()
    except OSError:
        lacking.add(_LONG_LINK)
    try:
        os.mkfifo(probe)
        probe.unlink()
    except OSError:
        lacking.add(_FIFO)
    return frozenset(lacking)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How the content of a file is made, so that the same content can be made again."""

    kind: str
    seed: int
    size: int
    cut: bool = False

    def content(self) -> bytes:
        chance = random.Random(self.seed)
        if self.kind == "random":
            data = chance.randbytes(self.size)
        elif self.kind == "text":
            words = [chance.randbytes(chance.randint(1, 5)).hex() for _ in range(200)]
            block = " ".join(chance.choices(words, k=8000)).encode()
            data = (block * (self.size // len(block) + 1))[: self.size]
        else:
            data = bytes(self.size)
        middle = self.size // 2
        # Three bytes less shift all that follows: chunks cut by content find each other again, others do not.
        return data[:middle] + data[middle + 3 :] if self.cut else data


class _Maker:
    """Makes one tree; every choice comes from one generator."""

    def __init__(self, root: Path, chance: random.Random, lacking: frozenset[str]) -> None:
        self._root = root
        self._chance = chance
        self._lacking = lacking
        self._directories = [(root, 0)]
        self._files: list[Path] = []
        self._others: list[Path] = []
        self._taken: set[Path] = set()
        self._named = 0

    def make_directories(self, count: int) -> None:
        """Make directories below each other; about one of six never gets anything, and the last certainly not."""
        for _ in range(count):
            parent, depth = self._chance.choice([entry for entry in self._directories if entry[1] < _DEEPEST])
            path = self._new_path(parent)
            path.mkdir()
            self._directories.append((path, depth + 1))
        self._homes = [path for path, _ in self._directories[:-1] if self._chance.random() < 5 / 6] or [self._root]

    def make_files(self, count: int, biggest: int) -> None:
        edges = [size for size in _EDGES if size <= biggest] + [max(0, biggest - 1), biggest, biggest]
        recipes = [self._new_recipe(size) for size in self._chance.sample(edges, min(count, len(edges)))]
        while len(recipes) < count:
            (origin,) = self._chance.choices(("new", "same", "cut"), weights=(75, 15, 10))
            earlier = self._chance.choice(recipes)
            if origin == "same":
                recipes.append(earlier)
            elif origin == "cut":
                recipes.append(replace(earlier, cut=True))
            else:
                recipes.append(self._new_recipe(int(math.exp(self._chance.uniform(0, math.log(biggest + 1)))) - 1))
        for recipe in recipes:
            path = self._new_path(self._chance.choice(self._homes), self._chance.choice(_SUFFIXES))
            if recipe.kind == "sparse":
                self._write_sparse(path, recipe)
            else:
                path.write_bytes(recipe.content())
            self._files.append(path)

    def make_hard_links(self, count: int) -> None:
        for _ in range(count if self._files else 0):
            # Few targets for many links, so that some files have more than two names.
            target = self._chance.choice(self._files[: max(1, count // 2)])
            self._new_path(self._chance.choice(self._homes)).hardlink_to(target)

    def make_symlinks(self, count: int) -> None:
        targets = list(_TARGETS) if _LONG_LINK in self._lacking else [*_TARGETS, _LONGEST_TARGET]
        for number in range(count + len(targets)):
            path = self._new_path(self._chance.choice(self._homes))
            if number < len(targets):
                target = os.fsdecode(targets[number])
            else:
                end = self._chance.choice([*self._files, *self._others, *self._homes])
                target = os.path.relpath(end, path.parent)
            path.symlink_to(target)
            self._others.append(path)

    def make_fifos(self, count: int) -> None:
        for _ in range(count):
            path = self._new_path(self._chance.choice(self._homes))
            os.mkfifo(path)
            self._others.append(path)

    def dress(self) -> None:
        """Set owners, extended attributes, modes and times; directories last, for their times follow their entries."""
        for path in self._files:
            self._dress(path, _FILE_MODES + ((0,) if os.geteuid() == 0 else ()))
        for path in self._others:
            self._dress(path, () if path.is_symlink() else (0o644, 0o600, 0o620), takes_xattrs=False)
        for path, _ in reversed(self._directories):
            self._dress(path, _DIRECTORY_MODES)

    def _dress(self, path: Path, modes: tuple[int, ...], *, takes_xattrs: bool = True) -> None:
        # A chown clears the set-user-ID bit, so the mode comes after it; a mode without w would stop the attributes.
        if _ANY_OWNER not in self._lacking:
            os.chown(path, *self._chance.choice(_OWNERS), follow_symlinks=False)
        if takes_xattrs and _XATTR not in self._lacking and self._chance.randrange(5) == 0:
            for name, value in self._chance.sample(_XATTRS, self._chance.randint(1, len(_XATTRS))):
                os.setxattr(path, name, value)
        if modes:
            path.chmod(self._chance.choice(modes))
        time_ns = self._draw_time_ns()
        os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)

    def _draw_time_ns(self) -> int:
        (kind,) = self._chance.choices((_EARLY, _LATE, "edge", "any"), weights=(5, 5, 5, 85))
        if kind == _EARLY and _EARLY not in self._lacking:
            return _EARLY_NS
        if kind == _LATE and _LATE not in self._lacking:
            return _LATE_NS
        if kind == "edge":
            return self._chance.choice((0, 1, 999_999_999))
        return self._chance.randrange(946_684_800_000_000_000, 1_735_689_600_000_000_000)

    def _new_recipe(self, size: int) -> _Recipe:
        kind = self._chance.choice(("random", "random", "text", "text", "zeros", "sparse"))
        return _Recipe(kind, self._chance.getrandbits(32), size)

    def _write_sparse(self, path: Path, recipe: _Recipe) -> None:
        chance = random.Random(recipe.seed)
        with path.open("wb") as file:
            file.truncate(recipe.size)
            for _ in range(3 if recipe.size > 4 * _KIB else 0):
                file.seek(chance.randrange(recipe.size - 4 * _KIB))
                file.write(chance.randbytes(chance.randint(1, 2 * _KIB)))

    def _new_path(self, parent: Path, suffix: str = "") -> Path:
        """Return a path that nothing has yet; every third name is an odd one."""
        self._named += 1
        turn, rest = divmod(self._named, 3)
        path = parent / os.fsdecode(_ODD_NAMES[turn % len(_ODD_NAMES)])
        if rest or path in self._taken:
            path = parent / f"{self._named:05d}{suffix}"
        self._taken.add(path)
        return path


class Described(NamedTuple):
    """What is compared of one name; None where the filesystem, not the user, decides."""

    mode: int
    uid: int
    gid: int
    size: int | None
    mtime_ns: int
    nlink: int | None
    first_name: bytes
    target: bytes | None
    xattrs: tuple[tuple[str, bytes], ...]
    content: bytes | None


def describe(root: Path) -> dict[bytes, Described]:
    """Return what every name under ``root`` is, by its path from there; ``root`` itself is ``.``."""
    described: dict[bytes, Described] = {}
    first_names: dict[tuple[int, int], bytes] = {}
    waiting = [root]
    while waiting:
        path = waiting.pop()
        name = os.fsencode(path.relative_to(root))
        status = path.lstat()
        first_name = first_names.setdefault((status.st_dev, status.st_ino), name)
        described[name] = _describe_one(path, status, first_name)
        if stat.S_ISDIR(status.st_mode):
            # Popped in the order of their names, so that the first name of a file does not depend on the filesystem.
            waiting.extend(sorted(path.iterdir(), key=os.fsencode, reverse=True))
    return described


def _describe_one(path: Path, status: os.stat_result, first_name: bytes) -> Described:
    is_directory = stat.S_ISDIR(status.st_mode)
    is_symlink = stat.S_ISLNK(status.st_mode)
    return Described(
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=None if is_directory else status.st_size,
        mtime_ns=status.st_mtime_ns,
        nlink=None if is_directory else status.st_nlink,
        first_name=first_name,
        # Path.readlink would tidy the target up.
        target=os.fsencode(os.readlink(path)) if is_symlink else None,  # noqa: PTH115
        xattrs=_user_xattrs(path),
        content=_content_digest(path) if stat.S_ISREG(status.st_mode) else None,
    )


def _user_xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return ()
    wanted = sorted(name for name in names if name.startswith("user."))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in wanted)


def _content_digest(path: Path) -> bytes:
    """Return the digest of the digests of a file's pieces, so that a large file is never in memory as a whole."""
    pieces = []
    with path.open("rb", buffering=0) as file:
        while piece := file.read(4 << 20):
            pieces.append(digest(piece))
    return digest(b"".join(pieces))


def differences(a: dict[bytes, Described], b: dict[bytes, Described]) -> list[str]:
    """Return in words what differs between two described trees, in the order of their names."""
    words = []
    for name in sorted(a.keys() | b.keys()):
        if name not in b:
            words.append(f"{name!r} is only in the first")
        elif name not in a:
            words.append(f"{name!r} is only in the second")
        else:
            words += [
                f"{name!r}: {field} is {_in_words(field, mine)} in the first, {_in_words(field, other)} in the second"
                for field, mine, other in zip(Described._fields, a[name], b[name], strict=True)
                if mine != other
            ]
    return words


def _in_words(field: str, value: object) -> str:
    if field == "mode" and isinstance(value, int):
        return stat.filemode(value)
    if field == "content" and isinstance(value, bytes):
        return value.hex()[:16]
    return repr(value)
