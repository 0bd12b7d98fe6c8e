"""Listing directories: complete, each entry once, from any remembered position, whatever comes and goes."""

import ctypes
import errno
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.testing.trees import make_tree
from tests.mount.places import refused, succeed
from tests.mount.posix.actor import Caller
from tests.mount.posix.conftest import Site

pytestmark = pytest.mark.mount

_SOAK = os.environ.get("STOREFS_SOAK") == "1"
_ENTRIES, _FEWER = (1_000_000, 1_000_000) if _SOAK else (20_000, 1_500)
_libc = ctypes.CDLL(None, use_errno=True)


class _Dirent(ctypes.Structure):
    _fields_ = (
        ("ino", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_ushort),
        ("kind", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    )


_libc.opendir.restype = ctypes.c_void_p
_libc.readdir.restype = ctypes.POINTER(_Dirent)
_libc.telldir.restype = ctypes.c_long
for _name in ("readdir", "telldir", "rewinddir", "closedir"):
    getattr(_libc, _name).argtypes = (ctypes.c_void_p,)
_libc.seekdir.argtypes = (ctypes.c_void_p, ctypes.c_long)


class Listing:
    """An open directory, as C programs have it."""

    def __init__(self, path: bytes) -> None:
        self._stream = _libc.opendir(path)
        assert self._stream

    def __iter__(self) -> Iterator[bytes]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> bytes | None:
        """Return the next name; None at the end."""
        found = _libc.readdir(self._stream)
        return bytes(found.contents.name) if found else None

    def tell(self) -> int:
        return int(_libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        _libc.seekdir(self._stream, position)

    def rewind(self) -> None:
        _libc.rewinddir(self._stream)

    def close(self) -> None:
        _libc.closedir(self._stream)


@pytest.fixture
def listing(folder: Path) -> Iterator[Listing]:
    """The current directory, which is empty as yet."""
    opened = Listing(b".")
    yield opened
    opened.close()


def _fill(names: Iterator[bytes] | list[bytes]) -> None:
    for name in names:
        os.mknod(name)


_DOTS = {b".", b".."}


def test_an_empty_directory_has_two_entries(listing: Listing) -> None:
    assert set(listing) == _DOTS
    assert listing.next() is None, "at the end it stays at the end"


def test_rewinding_shows_what_is_new(listing: Listing) -> None:
    assert set(listing) == _DOTS
    _fill([b"one", b"two"])
    listing.rewind()
    assert sorted(listing) == [b".", b"..", b"one", b"two"]
    os.unlink(b"one")
    listing.rewind()
    assert sorted(listing) == [b".", b"..", b"two"]


def test_a_directory_that_was_emptied(listing: Listing) -> None:
    _fill([b"%d" % number for number in range(500)])
    listing.rewind()
    for _ in range(100):
        listing.next()
    for name in os.listdir():
        os.unlink(name)
    list(listing)  # what the C library had read before may still come
    listing.rewind()
    assert set(listing) == _DOTS
    assert os.listdir() == []


def test_a_removed_directory_lists_nothing(folder: Path) -> None:
    os.mkdir("gone")
    _fill([b"gone/%d" % number for number in range(10)])
    listing = Listing(b"gone")
    for name in os.listdir("gone"):
        os.unlink(f"gone/{name}")
    os.rmdir("gone")
    assert set(listing) <= _DOTS
    listing.rewind()
    assert set(listing) <= _DOTS
    listing.close()


def test_inode_numbers_and_kinds_agree_with_stat(folder: Path) -> None:
    make_tree(folder, seed=7, files=60, biggest=100)
    with os.scandir() as entries:
        for entry in entries:
            status = os.lstat(entry.path)
            assert entry.inode() == status.st_ino
            assert entry.is_dir(follow_symlinks=False) == stat.S_ISDIR(status.st_mode)
            assert entry.is_symlink() == stat.S_ISLNK(status.st_mode)


@pytest.mark.timeout(3600 if _SOAK else 240)
def test_a_large_directory_while_entries_come_and_go(site: Site, folder: Path, seed: int) -> None:
    site.allow(3000 if _SOAK else 200)
    chance = random.Random(seed)
    entries = _ENTRIES if site.has_bridge else _FEWER
    stay = [b"stay-%06d" % number for number in range(entries)]
    come_and_go = [b"temporary-%05d" % number for number in range(entries // 20)]
    # In any order, and some among the others.
    names = stay + come_and_go
    chance.shuffle(names)
    _fill(names)
    listing = Listing(b".")
    seen: list[bytes] = []
    positions: list[tuple[int, bytes]] = []
    added: list[bytes] = []
    gone: set[bytes] = set()
    while True:
        position = listing.tell()
        name = listing.next()
        if name is None:
            break
        seen.append(name)
        if name.startswith(b"stay") and chance.random() < 300 / entries:
            positions.append((position, name))
        if chance.random() < 1000 / entries:
            if chance.random() < 0.5 and come_and_go:
                gone.add(victim := come_and_go.pop(chance.randrange(len(come_and_go))))
                os.unlink(victim)
            else:
                added.append(b"added-%05d" % len(added))
                os.mknod(added[-1])
    counted = sorted(name for name in seen if name.startswith(b"stay"))
    assert counted == stay, "each that was there throughout came once"
    assert len(seen) == len(set(seen)), "and nothing came twice"
    assert set(seen) <= {*stay, *added, *come_and_go, *gone, *_DOTS}

    chance.shuffle(positions)
    for position, name in positions[:60]:
        listing.seek(position)
        assert listing.next() == name, "a remembered position leads to the entry that came there"
    position, name = positions[0]
    listing.seek(position)
    rest = list(listing)
    at = seen.index(name)
    assert [one for one in rest if one.startswith(b"stay")] == [one for one in seen[at:] if one.startswith(b"stay")]
    listing.close()
    assert set(os.listdir(b".")) == {*stay, *added, *come_and_go}


@pytest.mark.timeout(120)
def test_removing_a_large_tree(site: Site, folder: Path, seed: int) -> None:
    for number in range(50 if site.has_bridge else 10):
        path = folder / "tree" / f"{number % 5}" / f"{number}"
        path.mkdir(parents=True)
        _fill([os.fsencode(path / f"{name}") for name in range(60)])
    os.makedirs(folder / "tree" / "/".join(f"deep-{level}" for level in range(30)))
    make_tree(folder / "tree" / "of every kind", seed, files=100, biggest=2000)
    succeed("rm", "-rf", folder / "tree")
    assert os.listdir(folder) == []
    assert os.stat(folder).st_nlink == 2


def test_nobody_lists_what_is_not_readable(folder: Path, root: Caller, nobody: Caller) -> None:
    root.mkdir(b"d")
    root.mknod(b"d/file", stat.S_IFREG | 0o644)
    root.chmod(b"d", 0o711)
    with refused(errno.EACCES):
        nobody.listdir(b"d")
    assert stat.S_ISREG(nobody.stat(b"d/file").st_mode), "but may search it"
    root.chmod(b"d", 0o744)
    assert nobody.listdir(b"d") == [b"file"]
    with refused(errno.EACCES):
        nobody.stat(b"d/file")
