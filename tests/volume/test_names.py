"""Names: each call's refusals, renames of all kinds, link counts, inherited groups."""

import errno
from contextlib import contextmanager

import pytest

from storefs.errors import PosixError
from storefs.model import ROOT_INO
from storefs.testing.world import CALLER, FILE_MODE, FOLDER_MODE, create, find, listing, put_file, read
from storefs.volume.attributes import Changes
from storefs.volume.caller import Caller


@contextmanager
def refused(number):
    """The body is refused with this errno."""
    with pytest.raises(PosixError) as error:
        yield
    assert errno.errorcode[error.value.errno] == errno.errorcode[number]


@pytest.fixture
def names(volume):
    """The verbs, on a tree of: file, folder/inner, folder/deep/, empty/."""
    create(volume, "file")
    folder = create(volume, "folder", mode=FOLDER_MODE)
    create(volume, "inner", folder)
    create(volume, "deep", folder, mode=FOLDER_MODE)
    create(volume, "empty", mode=FOLDER_MODE)
    return volume.names


async def test_make(names, volume, autojump_clock):
    before = volume.engine.tree.pending.count
    for name in (b"file", b"folder"):
        with refused(errno.EEXIST):
            names.make(ROOT_INO, name, FILE_MODE, CALLER)
    with refused(errno.ENOTDIR):
        names.make(find(volume, "file"), b"x", FILE_MODE, CALLER)
    with refused(errno.ENOENT):
        names.make(12345, b"x", FILE_MODE, CALLER)
    with refused(errno.ENAMETOOLONG):
        names.make(ROOT_INO, b"x" * 256, FILE_MODE, CALLER)
    for name in (b"", b".", b"..", b"a/b", b"a\0b"):
        with refused(errno.EINVAL):
            names.make(ROOT_INO, name, FILE_MODE, CALLER)
    assert volume.engine.tree.pending.count == before
    names.make(ROOT_INO, b"x" * 255, FILE_MODE, CALLER)


async def test_lookup(names, volume, autojump_clock):
    assert names.lookup(ROOT_INO, b"none") is None
    with refused(errno.ENAMETOOLONG):
        names.lookup(ROOT_INO, b"x" * 256)


async def test_unlink_and_rmdir(names, volume, autojump_clock):
    with refused(errno.ENOENT):
        names.unlink(ROOT_INO, b"none")
    with refused(errno.EISDIR):
        names.unlink(ROOT_INO, b"empty")
    with refused(errno.ENOENT):
        names.rmdir(ROOT_INO, b"none")
    with refused(errno.ENOTDIR):
        names.rmdir(ROOT_INO, b"file")
    with refused(errno.ENOTEMPTY):
        names.rmdir(ROOT_INO, b"folder")
    names.unlink(ROOT_INO, b"file")
    names.rmdir(ROOT_INO, b"empty")
    assert listing(volume) == ["folder"]


async def test_links(names, volume, autojump_clock):
    ino = find(volume, "file")
    with refused(errno.EPERM):
        names.link(find(volume, "folder"), ROOT_INO, b"other")
    with refused(errno.EEXIST):
        names.link(ino, ROOT_INO, b"empty")
    assert names.link(ino, find(volume, "folder"), b"other").nlink == 2
    names.unlink(ROOT_INO, b"file")
    assert volume.attributes.get(ino).nlink == 1
    volume.references.add(ino)
    names.unlink(find(volume, "folder"), b"other")
    assert volume.attributes.get(ino).nlink == 0
    with refused(errno.ENOENT):
        names.link(ino, ROOT_INO, b"again")


async def test_directories_count_their_subdirectories(names, volume, autojump_clock):
    folder = find(volume, "folder")
    assert volume.attributes.get(ROOT_INO).nlink == 4
    assert volume.attributes.get(folder).nlink == 3
    names.rename(folder, b"deep", ROOT_INO, b"deep")
    assert volume.attributes.get(ROOT_INO).nlink == 5
    assert volume.attributes.get(folder).nlink == 2


async def test_rename_refusals(names, volume, autojump_clock):
    folder, deep = find(volume, "folder"), find(volume, "deep", find(volume, "folder"))
    before = volume.engine.tree.pending.count
    for name, parent, new_name, number in [
        (b"none", ROOT_INO, b"x", errno.ENOENT),
        (b"file", ROOT_INO, b"empty", errno.EISDIR),
        (b"empty", ROOT_INO, b"file", errno.ENOTDIR),
        (b"empty", ROOT_INO, b"folder", errno.ENOTEMPTY),
        (b"folder", folder, b"x", errno.EINVAL),
        (b"folder", deep, b"x", errno.EINVAL),
        (b"file", ROOT_INO, b"x" * 256, errno.ENAMETOOLONG),
        (b"file", find(volume, "file"), b"x", errno.ENOTDIR),
        (b"file", 12345, b"x", errno.ENOENT),
    ]:
        with refused(number):
            names.rename(ROOT_INO, name, parent, new_name)
    with refused(errno.EEXIST):
        names.rename(ROOT_INO, b"file", folder, b"inner", replace=False)
    assert volume.engine.tree.pending.count == before


async def test_rename_replaces(names, volume, autojump_clock):
    one, two = await put_file(volume, "one", b"1"), await put_file(volume, "two", b"2")
    names.rename(ROOT_INO, b"one", ROOT_INO, b"two")
    assert find(volume, "two") == one
    assert await read(volume, one) == b"1"
    with refused(errno.ENOENT):
        volume.attributes.get(two)
    names.rename(ROOT_INO, b"folder", ROOT_INO, b"empty")
    assert listing(volume, find(volume, "empty")) == ["deep", "inner"]
    assert listing(volume) == ["empty", "file", "two"]


async def test_rename_onto_another_name_of_the_same_file_does_nothing(names, volume, autojump_clock):
    ino = find(volume, "file")
    names.link(ino, ROOT_INO, b"other")
    before = volume.engine.tree.pending.count
    names.rename(ROOT_INO, b"file", ROOT_INO, b"other")
    names.rename(ROOT_INO, b"file", ROOT_INO, b"file")
    assert volume.engine.tree.pending.count == before
    assert find(volume, "file") == find(volume, "other") == ino


async def test_exchange(names, volume, autojump_clock):
    folder, file = find(volume, "folder"), find(volume, "file")
    names.exchange(ROOT_INO, b"folder", ROOT_INO, b"file")
    assert (find(volume, "file"), find(volume, "folder")) == (folder, file)
    assert listing(volume, folder) == ["deep", "inner"]
    names.exchange(ROOT_INO, b"folder", folder, b"deep")
    assert find(volume, "deep", folder) == file
    with refused(errno.ENOENT):
        names.exchange(ROOT_INO, b"file", ROOT_INO, b"none")
    inner = create(volume, "below", folder, mode=FOLDER_MODE)
    create(volume, "child", inner)
    for one, other in [((ROOT_INO, b"file"), (inner, b"child")), ((inner, b"child"), (ROOT_INO, b"file"))]:
        with refused(errno.EINVAL):
            names.exchange(*one, *other)


async def test_a_group_directory_hands_on_its_group(names, volume, autojump_clock):
    folder = find(volume, "folder")
    await volume.attributes.set(folder, Changes(mode=0o2755, gid=77))
    inner = names.make(folder, b"sub", FOLDER_MODE, Caller(5, 6))
    file = names.make(inner.ino, b"file", FILE_MODE, Caller(5, 6))
    assert (inner.gid, inner.mode & 0o2000) == (77, 0o2000)
    assert (file.gid, file.mode & 0o2000) == (77, 0)
    assert volume.attributes.get(file.ino).gid == 77
    assert names.make(ROOT_INO, b"plain", FILE_MODE, Caller(5, 6)).gid == 6


async def test_nothing_is_made_in_a_removed_directory(names, volume, autojump_clock):
    empty = find(volume, "empty")
    volume.references.add(empty)
    names.rmdir(ROOT_INO, b"empty")
    with refused(errno.ENOENT):
        names.make(empty, b"x", FILE_MODE, CALLER)
    with refused(errno.ENOENT):
        names.rename(ROOT_INO, b"file", empty, b"x")


async def test_symbolic_links(names, volume, autojump_clock):
    link = names.symlink(ROOT_INO, b"link", b"../\xff", CALLER)
    assert names.read_link(link.ino) == b"../\xff"
    assert link.size == 4
    with refused(errno.ENOENT):
        names.symlink(ROOT_INO, b"x", b"", CALLER)
    with refused(errno.ENAMETOOLONG):
        names.symlink(ROOT_INO, b"x", b"x" * 4096, CALLER)


async def test_times_of_the_directory_follow_its_names(names, volume, autojump_clock):
    def times():
        root = volume.attributes.get(ROOT_INO)
        return root.mtime_ns, root.ctime_ns

    for change in (
        lambda: names.make(ROOT_INO, b"new", FILE_MODE, CALLER),
        lambda: names.rename(ROOT_INO, b"new", ROOT_INO, b"newer"),
        lambda: names.link(find(volume, "newer"), ROOT_INO, b"newest"),
        lambda: names.unlink(ROOT_INO, b"newest"),
        lambda: names.rmdir(ROOT_INO, b"empty"),
    ):
        before = times()
        change()
        assert all(new > old for new, old in zip(times(), before, strict=True))


async def test_paths(names, volume, autojump_clock):
    deep = find(volume, "deep", find(volume, "folder"))
    assert names.path_of(deep) == b"/folder/deep"
    assert names.path_of(ROOT_INO) == b"/"
    assert names.parent(deep) == find(volume, "folder")
    assert names.parent(ROOT_INO) == ROOT_INO
