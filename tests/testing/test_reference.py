"""The reference beside a local directory: what defines correctness has to be correct itself."""

import errno
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from storefs.model import ROOT_INO
from storefs.testing.reference.content import Content
from storefs.testing.reference.filesystem import EXCHANGE, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, Filesystem
from storefs.testing.reference.nodes import Moment
from tests.mount.side_by_side.calls import Side, seen

NAMES = ("a", "b", "c", "d")
CALLS = 3000
NOW = Moment(0, 0)
ON_CONTENTS = ("write", "write", "truncate", "allocate", "copy")
VERBS = (*ON_CONTENTS, *["make"] * 3, *["rename"] * 3, "symlink", "link", "remove", "remove", "chmod", "xattr")

Calls = tuple[Callable[[], object], Callable[[], object]]
"""A call on the local directory, and the same on the reference."""


class Local:
    """A local directory that is driven beside the reference, by the reference's inode numbers."""

    def __init__(self, base: Path, chance: random.Random) -> None:
        self.side = Side(base)
        self.chance = chance
        found = base.stat()
        self.model = Filesystem(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, NOW)

    def path(self, ino: int) -> str:
        parts: list[str] = []
        while ino != ROOT_INO:
            (ino, name), *_ = self.model.names(ino)
            parts.append(os.fsdecode(name))
        return "/".join([".", *parts[::-1]])

    def pick(self, wanted: Callable[[int], bool]) -> int:
        return self.chance.choice([ino for ino in sorted(self.model.nodes) if wanted(ino)] or [ROOT_INO])

    def directory(self) -> int:
        return self.pick(lambda ino: self.model.nodes[ino].is_directory)

    def regular(self) -> int:
        return self.pick(lambda ino: self.model.nodes[ino].is_regular)

    def place(self) -> tuple[int, bytes, str]:
        """Return a directory, a name in it, and the path of both."""
        ino, name = self.directory(), self.chance.choice(NAMES)
        return ino, name.encode(), f"{self.path(ino)}/{name}"

    def step(self) -> None:
        verb = self.chance.choice(VERBS)
        if verb in ON_CONTENTS and not any(node.is_regular for node in self.model.nodes.values()):
            verb = "make"
        local, model = getattr(self, verb)()
        refusals = [refusal(local), 0]
        if refusals[0] == errno.EOPNOTSUPP and verb == "allocate":
            return  # not every local filesystem has it all
        refusals[1] = refusal(model)
        assert refusals[0] == refusals[1], (verb, *[errno.errorcode.get(number, "success") for number in refusals])

    def make(self) -> Calls:
        parent, name, path = self.place()
        kind = self.chance.choice((stat.S_IFDIR, stat.S_IFREG, stat.S_IFREG, stat.S_IFIFO))
        mode = self.chance.choice((0o755, 0o700))
        uid, gid = os.geteuid(), os.getegid()
        return (
            lambda: self.side.mkdir(path, mode) if kind == stat.S_IFDIR else self.side.mknod(path, kind | mode),
            lambda: self.model.make(parent, name, kind | mode, uid, gid),
        )

    def symlink(self) -> Calls:
        parent, name, path = self.place()
        uid, gid = os.geteuid(), os.getegid()
        return (
            lambda: self.side.symlink("target", path),
            lambda: self.model.symlink(parent, name, b"target", uid, gid),
        )

    def link(self) -> Calls:
        file = self.pick(lambda ino: not self.model.nodes[ino].is_directory)
        if file == ROOT_INO:
            return self.make()
        old, (parent, name, path) = self.path(file), self.place()
        return lambda: self.side.link(old, path, False), lambda: self.model.link(file, parent, name)

    def remove(self) -> Calls:
        parent, name, path = self.place()
        if self.chance.random() < 0.5:
            return lambda: self.side.rmdir(path), lambda: self.model.rmdir(parent, name)
        return lambda: self.side.unlink(path), lambda: self.model.unlink(parent, name)

    def rename(self) -> Calls:
        flags = self.chance.choice((0, 0, 1, 2))
        parent, name, path = self.place()
        new_parent, new_name, new_path = self.place()
        moved = self.model.lookup(parent, name)
        above = path.startswith(f"{new_path}/")
        if above and flags != EXCHANGE and moved is not None and not self.model.nodes[moved].is_directory:
            return self.make()  # onto a directory above it: the kernel has a reason of its own
        return (
            lambda: self.side.rename(path, new_path, flags),
            lambda: self.model.rename(parent, name, new_parent, new_name, flags),
        )

    def write(self) -> Calls:
        ino, offset = self.regular(), self.chance.choice((0, 5, 4096, self.chance.randrange(30_000)))
        data = self.chance.randbytes(self.chance.choice((0, 1, 4096, self.chance.randrange(9_000))))
        return self.with_open(ino, lambda: self.side.pwrite(0, data, offset)), lambda: self.model.write(
            ino, offset, data
        )

    def truncate(self) -> Calls:
        ino, size = self.regular(), self.chance.choice((0, 4096, self.chance.randrange(40_000), 1 << 40))
        path = self.path(ino)
        return lambda: self.side.truncate(path, size), lambda: self.model.truncate(ino, size)

    def allocate(self) -> Calls:
        mode = self.chance.choice((0, 1, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE, PUNCH_HOLE))
        ino, offset, length = self.regular(), self.chance.randrange(30_000), self.chance.randrange(9_000)
        return (
            self.with_open(ino, lambda: self.side.fallocate(0, mode, offset, length)),
            lambda: self.model.allocate(ino, mode, offset, length),
        )

    def copy(self) -> Calls:
        source, target = self.regular(), self.regular()
        offset, into, length = (self.chance.randrange(20_000) for _ in range(3))
        self.side.open(1, self.path(target), os.O_RDWR, 0)
        return (
            self.with_open(source, lambda: self.side.copy_range(0, offset, 1, into, length)),
            lambda: self.model.copy_range(source, offset, target, into, length),
        )

    def chmod(self) -> Calls:
        ino = self.pick(lambda ino: not stat.S_ISLNK(self.model.nodes[ino].mode))
        path, mode = self.path(ino), self.chance.choice((0o700, 0o755, 0o2755, 0o1777))
        return lambda: self.side.chmod(path, mode), lambda: self.model.chmod(ino, mode)

    def xattr(self) -> Calls:
        ino = self.pick(lambda ino: self.model.nodes[ino].is_directory or self.model.nodes[ino].is_regular)
        path, name = self.path(ino), self.chance.choice(("user.a", "user.b"))
        if self.chance.random() < 0.5:
            value = self.chance.randbytes(9)
            return (
                lambda: self.side.setxattr(path, name, value, 0, False),
                lambda: self.model.set_xattr(ino, name.encode(), value),
            )
        return lambda: self.side.removexattr(path, name, False), lambda: self.model.remove_xattr(ino, name.encode())

    def with_open(self, ino: int, call: Callable[[], object]) -> Callable[[], object]:
        self.side.open(0, self.path(ino), os.O_RDWR, 0)
        return call

    def check(self) -> None:
        for ino, node in self.model.nodes.items():
            path = self.path(ino)
            size = 0 if node.is_directory else node.size
            wanted = node.mode, self.model.nlink(ino), node.uid, node.gid, size, 0
            assert self.side.stat(path, False) == wanted, path
            if node.is_directory:
                assert self.side.listdir(path) == sorted(os.fsdecode(name) for name in node.entries), path
            if node.is_regular:
                self.side.open(0, path, os.O_RDONLY, 0)
                for first, last in node.content.parts(5_000):
                    assert self.side.pread(0, last - first + 1, first)[: last - first] == node.content.read(
                        first, last - first
                    )
            if node.is_regular or node.is_directory:
                found = {name: self.side.getxattr(path, name, False) for name in self.side.listxattr(path, False)}
                assert found == {os.fsdecode(name): value for name, value in node.xattrs.items()}, path


def refusal(call: Callable[[], object]) -> int:
    """Return the errno of a call, 0 for success."""
    try:
        call()
    except OSError as error:
        return error.errno or -1
    return 0


def test_it_does_what_a_local_directory_does(tmp_path: Path, seed: int) -> None:
    print("seed", seed)
    base = tmp_path / "base"
    base.mkdir()
    (base / "sub").mkdir()
    if base.stat().st_nlink != 3:
        pytest.skip("the local filesystem does not count subdirectories")
    (base / "sub").rmdir()
    umask = os.umask(0)
    local = Local(base, random.Random(seed))
    try:
        for number in range(CALLS):
            local.step()
            if number % 100 == 0:
                local.check()
        local.check()
    finally:
        os.umask(umask)
        local.side.end()


def test_contents_against_a_bytearray(seed: int) -> None:
    chance = random.Random(seed)
    content, plain = Content(), bytearray()
    for _ in range(500):
        start, length = chance.randrange(20_000), chance.choice((0, 1, 4096, chance.randrange(9_000)))
        verb = chance.choice(("write", "zero", "truncate"))
        if verb == "write" and length:
            data = chance.randbytes(length)
            content.write(start, data)
            plain.extend(bytes(max(0, start + length - len(plain))))
            plain[start : start + length] = data
        elif verb == "zero":
            content.zero(start, start + length)
            covered = len(plain[start : start + length])
            plain[start : start + length] = bytes(covered)
        elif verb == "truncate":
            content.truncate(start)
            plain[start:] = bytes(max(0, start - len(plain)))
        assert (content.size, content.read(0, 1 << 20)) == (len(plain), bytes(plain))
        assert content.is_zero(start, start + length) == (not any(plain[start : start + length]))


@pytest.mark.parametrize(
    ("offset", "whence", "answer", "legal"),
    [
        (0, os.SEEK_DATA, 0, True),
        (0, os.SEEK_DATA, 9_000, True),
        (0, os.SEEK_DATA, 10_000, True),
        (0, os.SEEK_DATA, 10_001, False),
        (0, os.SEEK_DATA, None, False),
        (10_002, os.SEEK_DATA, None, True),
        (10_002, os.SEEK_DATA, 20_000, False),
        (10_002, os.SEEK_DATA, 10_001, False),
        (20_000, os.SEEK_DATA, None, True),
        (20_000, os.SEEK_HOLE, None, True),
        (20_000, os.SEEK_HOLE, 20_000, False),
        (0, os.SEEK_HOLE, 0, True),
        (10_000, os.SEEK_HOLE, 10_000, False),
        (10_000, os.SEEK_HOLE, 10_001, False),
        (10_000, os.SEEK_HOLE, 10_002, True),
        (10_000, os.SEEK_HOLE, 20_000, True),
        (10_000, os.SEEK_HOLE, None, False),
    ],
)
def test_what_seek_may_answer(offset: int, whence: int, answer: int | None, legal: bool) -> None:
    content = Content()
    content.write(10_000, b"12")
    content.truncate(20_000)
    assert content.may_seek(offset, whence, answer) is legal


def test_an_unlinked_file_lives_while_it_is_open() -> None:
    model = Filesystem(0o755, 0, 0, NOW)
    ino = model.make(ROOT_INO, b"a", stat.S_IFREG | 0o644, 0, 0)
    folder = model.make(ROOT_INO, b"d", stat.S_IFDIR | 0o755, 0, 0)
    model.hold(ino)
    model.hold(folder)
    model.unlink(ROOT_INO, b"a")
    model.rmdir(ROOT_INO, b"d")
    assert model.write(ino, 0, b"1") == 1
    assert (model.nlink(ino), model.nlink(folder)) == (0, 0)
    assert refusal(lambda: model.link(ino, ROOT_INO, b"b")) == errno.ENOENT
    assert refusal(lambda: model.make(folder, b"b", stat.S_IFREG, 0, 0)) == errno.ENOENT
    model.let_go(ino)
    model.let_go(folder)
    assert list(model.nodes) == [ROOT_INO]


def test_a_listing_tells_what_was_there_throughout_once() -> None:
    model = Filesystem(0o755, 0, 0, NOW)
    inos = {name: model.make(ROOT_INO, name, stat.S_IFREG, 0, 0) for name in (b"a", b"b", b"c")}
    listing = model.list(ROOT_INO)
    assert listing.tell(b"a", inos[b"a"]) is None
    assert listing.tell(b"a", inos[b"a"]) is not None
    assert listing.tell(b"b", inos[b"a"]) is not None
    model.rename(ROOT_INO, b"c", ROOT_INO, b"d")
    assert listing.missing() == [b"b"]
    assert listing.tell(b"b", inos[b"b"]) is None
    assert listing.missing() == []


def test_seen_leaves_the_size_of_directories_out(tmp_path: Path) -> None:
    assert seen(tmp_path.stat())[4] == 0
