"""Clone: files and trees copied by sharing what they hold, whole or not at all."""

import errno
import os
import stat

import pytest
import trio
import trio.lowlevel

from storefs.core import ttl
from storefs.errors import NoSpace, PosixError
from storefs.model import NAME_BYTES_MAX, ROOT_INO
from storefs.testing.world import (
    CALLER,
    FILE_MODE,
    FOLDER_MODE,
    World,
    copy_disk,
    create,
    find,
    listing,
    noise,
    put_file,
    read,
    tables,
    with_limits,
    write,
)  # fmt: skip
from storefs.tree import check
from storefs.volume import clone
from storefs.volume.attributes import Changes

pytestmark = pytest.mark.usefixtures("autojump_clock")

sliced = pytest.mark.parametrize("rows", [5, clone.SLICE_ROWS], ids=["slices", "at once"])


@pytest.fixture
def world(seed):
    return World(seed)


@pytest.fixture
async def volume(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as one:
        yield one


@pytest.fixture
def slices(monkeypatch):
    """Let a few rows fill a slice."""
    monkeypatch.setattr(clone, "SLICE_ROWS", 5)
    monkeypatch.setattr(clone, "_PAGE_ENTRIES", 2)


async def make_source(volume, seed):
    """Make a tree with everything that a tree can have; return its inode number."""
    top = create(volume, "source", mode=0o042750)
    deep = create(volume, "deep", top, 0o041777)
    create(volume, "empty", deep, FOLDER_MODE)
    small = await put_file(volume, "small", noise(seed, 900), top)
    large = await put_file(volume, "large", noise(f"{seed}/l", 150_000), deep)
    await put_file(volume, "nothing", b"", deep)
    sparse = create(volume, "sparse", deep)
    await write(volume, sparse, b"begin", 3)
    await write(volume, sparse, noise(f"{seed}/s", 5000), 1 << 40)
    await volume.files.allocate(sparse, 0, 0, (1 << 40) + 100_000)
    volume.names.link(small, deep, b"small-again")
    volume.names.link(large, top, b"large-again")
    volume.names.symlink(top, b"link", b"deep/\xff", CALLER)
    volume.names.make(deep, b"fifo", stat.S_IFIFO | 0o640, CALLER)
    volume.names.make(deep, b"device", stat.S_IFCHR | 0o600, CALLER, rdev=259)
    for ino in (top, small, deep):
        volume.attributes.set_xattr(ino, b"user.a", b"\x00of %d" % (ino % 7))
        volume.attributes.set_xattr(ino, b"user.b", b"v" * 1000)
    await volume.attributes.set(large, Changes(mode=0o104755, uid=5, gid=6, atime_ns=1, mtime_ns=-2_000_000_001))
    await volume.attributes.set(deep, Changes(atime_ns=7, mtime_ns=8))
    await volume.attributes.set(top, Changes(uid=9, gid=10, mtime_ns=11))
    return top


async def shown(volume, path):
    """Return all that calls tell of what is below a path: attributes, xattrs, contents, which names are one file."""
    engine = volume.engine
    found, first = {}, {}

    async def look(name, inode):
        now = volume.attributes.get(inode.ino)
        content = None
        if now.is_regular:
            content = [await read(volume, now.ino, at, 200_000) for at in (0, (1 << 40) - 100, max(0, now.size - 100))]
        xattrs = {one: volume.attributes.get_xattr(now.ino, one) for one in volume.attributes.list_xattrs(now.ino)}
        same = first.setdefault(now.ino, name) if not now.is_directory else None
        kind = (now.mode, now.uid, now.gid, now.size, now.atime_ns, now.mtime_ns, now.rdev, now.nlink)
        found[name] = (kind, volume.names.read_link(now.ino), xattrs, content, same, volume.attributes.blocks(now))
        if now.is_directory:
            for dentry, child in sorted(engine.tree.dentries.page(now.ino, 0, 10_000), key=lambda one: one[0].name):
                await look(name + b"/" + dentry.name, child)

    await look(b"", volume.names.resolve(path))
    return found


def whole(volume):
    """Return the names in the root directory of a tree that is one."""
    assert list(check.faults(volume.engine.tree.database)) == []
    return listing(volume)


def refused(number):
    return pytest.raises(PosixError, match=f"^{os.strerror(number)}")


@sliced
async def test_a_copy_is_like_its_source(world, volume, tmp_path, seed, rows, monkeypatch):
    monkeypatch.setattr(clone, "SLICE_ROWS", rows)
    await make_source(volume, seed)
    await volume.engine.cutter.drain()
    wanted = await shown(volume, b"/source")
    assert await volume.cloner.clone(b"/source", b"/copy") == len(wanted)
    assert await shown(volume, b"/copy") == wanted
    assert whole(volume) == ["copy", "source"]
    inos = {row[0] for row in tables(volume.engine.tree)["inode"]}
    assert len(inos) == 2 * (len(wanted) - 2) + 1, "all inodes are new, but hard links stay hard links"
    await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as other:
        assert await shown(other, b"/copy") == await shown(other, b"/source") == wanted


@sliced
async def test_what_is_written_on_either_side_stays_there(volume, seed, rows, monkeypatch):
    monkeypatch.setattr(clone, "SLICE_ROWS", rows)
    await make_source(volume, seed)
    await volume.cloner.clone(b"/source", b"/copy")
    wanted = await shown(volume, b"/source")
    for verb, changed, other in ((b"1", b"/source", b"/copy"), (b"2", b"/copy", b"/source")):
        before = await shown(volume, other)
        ino = volume.names.resolve(changed + b"/deep/large").ino
        await write(volume, ino, b"changed" + verb, 70_000)
        await volume.attributes.set(volume.names.resolve(changed + b"/small").ino, Changes(size=10))
        volume.attributes.set_xattr(volume.names.resolve(changed).ino, b"user.a", verb)
        volume.names.unlink(volume.names.resolve(changed + b"/deep").ino, b"sparse")
        await volume.engine.cutter.drain()
        assert await shown(volume, other) == before
        assert await read(volume, ino, 70_000, 8) == b"changed" + verb
    assert await shown(volume, b"/source") != wanted
    assert whole(volume) == ["copy", "source"]


async def test_a_file_and_a_link_by_themselves(volume, seed):
    data = noise(seed, 100_000)
    file = await put_file(volume, "file", data)
    volume.names.link(file, ROOT_INO, b"second")
    volume.names.symlink(ROOT_INO, b"link", b"file", CALLER)
    folder = create(volume, "folder", mode=FOLDER_MODE)
    assert await volume.cloner.clone(b"/file", b"/folder/file") == 1
    assert await volume.cloner.clone(b"/link", b"/folder/link") == 1
    copy = volume.attributes.get(find(volume, "file", folder))
    assert (copy.ino != file, copy.nlink, copy.size) == (True, 1, 100_000)
    assert await read(volume, copy.ino) == data
    assert volume.names.read_link(find(volume, "link", folder)) == b"file"
    assert whole(volume) == ["file", "folder", "link", "second"]


async def test_a_large_file_is_copied_in_slices_too(volume, seed, slices):
    data = noise(seed, 300_000)
    ino = await put_file(volume, "file", data)
    before = volume.engine.tree.pending.last
    await volume.cloner.clone(b"/file", b"/copy")
    assert len(volume.engine.tree.extents.all(ino)) > 20
    assert volume.engine.tree.pending.last - before > 5
    copy = volume.attributes.get(find(volume, "copy"))
    assert (copy.mode, copy.mtime_ns) == (FILE_MODE, volume.attributes.get(ino).mtime_ns)
    assert await read(volume, copy.ino) == data
    assert whole(volume) == ["copy", "file"]


@pytest.mark.timeout(300)
async def test_ten_thousand_files_cost_no_data(world, volume, seed):
    top = create(volume, "source", mode=FOLDER_MODE)
    for number in range(100):
        folder = create(volume, f"{number:02}", top, FOLDER_MODE)
        for name in range(100):
            await put_file(volume, f"{name:02}", b"%d %d" % (number, name), folder)
    await volume.engine.finish(60)
    commits, stored = await world.journal(), volume.engine.tree.stored_bytes()
    world.store.requests.clear()
    assert await volume.cloner.clone(b"/source", b"/copy") == 10_101
    await volume.files.fsync()
    assert world.store.keys("put", "shards/") == []
    assert world.store.keys("get", "shards/") == []
    assert volume.engine.tree.stored_bytes() == stored
    added = (await world.journal())[len(commits) :]
    assert 1 <= len(added) <= 3
    infos = [await world.memory.head(key) for key in added]
    assert sum(info.size for info in infos) < 1 << 20
    assert whole(volume) == ["copy", "source"]
    assert await read(volume, find(volume, "77", find(volume, "55", find(volume, "copy")))) == b"55 77"


async def test_others_see_it_whole_or_not_at_all(world, volume, tmp_path, seed, slices):
    """Each commit on the way has either no copy, or an unfinished one by its own name, or the whole one."""
    await make_source(volume, seed)
    await volume.engine.finish(60)
    wanted = await shown(volume, b"/source")
    async with world.engine_at(tmp_path / "two", ro=True) as other:
        seen = set()

        async def commit() -> None:
            while True:
                await volume.engine.committer.commit()
                await other.engine.follower.poll()
                names = whole(other)
                seen.add(len(names))
                if "copy" in names:
                    assert await shown(other, b"/copy") == wanted
                    return
                for name in set(names) - {"source"}:
                    assert name.startswith("copy.unfinished-clone-")
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit)
            await volume.cloner.clone(b"/source", b"/copy")
            nursery.start_soon(volume.files.fsync)
        assert whole(other) == ["copy", "source"]
        assert await shown(other, b"/copy") == wanted


@pytest.mark.parametrize("moment", range(1, 8, 2))
async def test_killed_in_the_middle(world, tmp_path, seed, slices, moment, monkeypatch):
    """What is left after a crash is the source, and what says that it is unfinished and can be removed."""
    write_slice = clone._Copying._write
    turn = 0

    def spy(self, part):
        nonlocal turn
        write_slice(self, part)
        turn += 1
        if turn == moment:
            copy_disk(tmp_path / "one", tmp_path / "killed")

    async with world.engine_at(tmp_path / "one") as volume:
        await make_source(volume, seed)
        await volume.files.fsync()
        wanted = await shown(volume, b"/source")
        monkeypatch.setattr(clone._Copying, "_write", spy)
        with trio.move_on_after(1):
            await volume.cloner.clone(b"/source", b"/copy")
    assert turn > moment, "the copy was made in the middle"
    async with world.engine_at(tmp_path / "killed") as volume:
        assert await shown(volume, b"/source") == wanted
        (left,) = set(whole(volume)) - {"source"}
        assert left.startswith("copy.unfinished-clone-")
        ino = find(volume, left)
        assert volume.attributes.get(ino).mode == stat.S_IFDIR | 0o700
        assert volume.attributes.get_xattr(ino, ttl.XATTR) == clone.UNFINISHED_TTL
        await volume.cloner.clone(b"/source", b"/copy")
        assert await shown(volume, b"/copy") == wanted
        world.clock.at_ns += 86_400 * 10**9
        assert await volume.expiry.run_once() > 0
        assert whole(volume) == ["copy", "source"]
        await volume.engine.finish(60)


async def test_killed_after_it(world, tmp_path, seed, slices):
    async with world.engine_at(tmp_path / "one") as volume:
        await make_source(volume, seed)
        await volume.cloner.clone(b"/source", b"/copy")
        wanted = await shown(volume, b"/source")
    async with world.engine_at(tmp_path / "one") as volume:
        assert await shown(volume, b"/copy") == await shown(volume, b"/source") == wanted
        assert whole(volume) == ["copy", "source"]
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as volume:
        assert await shown(volume, b"/copy") == wanted


@pytest.mark.parametrize("crash", [False, True])
@sliced
async def test_a_file_is_taken_as_it_is_when_its_turn_comes(world, tmp_path, seed, rows, crash, monkeypatch):
    """Writes that come after the first cut are staged; the copy has them, and those that come later it has not."""
    monkeypatch.setattr(clone, "SLICE_ROWS", rows)
    base, new = noise(seed, 100_000), noise(f"{seed}/n", 30_000)
    async with world.engine_at(tmp_path / "one", with_limits(idle_s=1000.0, partial_bytes=1 << 30)) as volume:
        top = create(volume, "source", mode=FOLDER_MODE)
        ino = await put_file(volume, "file", base, top)
        await volume.files.fsync()
        drain = volume.engine.cutter.drain

        async def drain_then_write() -> None:
            await drain()
            await write(volume, ino, new, 90_000)

        monkeypatch.setattr(volume.engine.cutter, "drain", drain_then_write)
        await volume.cloner.clone(b"/source", b"/copy")
        monkeypatch.undo()
        copy = find(volume, "file", find(volume, "copy"))
        assert volume.attributes.get(copy).mtime_ns == volume.attributes.get(ino).mtime_ns
        before = volume.attributes.get(copy)
        await write(volume, ino, b"later", 0)
        assert await read(volume, copy) == base[:90_000] + new
        if not crash:
            await volume.engine.cutter.drain()
            assert await read(volume, copy) == base[:90_000] + new
    async with world.engine_at(tmp_path / "one") as volume:
        await volume.files.fsync()
        after = volume.attributes.get(copy)
        assert (after.size, after.mtime_ns) == (before.size, before.mtime_ns)
        assert await read(volume, copy) == base[:90_000] + new
        assert await read(volume, ino) == b"later" + base[5:90_000] + new
        assert whole(volume) == ["copy", "source"]


async def test_shared_chunks_that_are_only_here_stay_here(world, volume, seed):
    """Where the commit of the copy is still to come, no eviction may take what it needs."""
    data = noise(seed, 50_000)
    await put_file(volume, "file", data)
    await volume.files.fsync()
    world.faults.away = True
    await volume.cloner.clone(b"/file", b"/copy")
    chunks = {bytes(extent.chunk) for extent in volume.engine.tree.extents.all(find(volume, "copy"))}
    assert volume.engine.tree.shards.held() == chunks
    volume.engine.pressure.evict(1 << 30)
    volume.names.unlink(ROOT_INO, b"file")
    assert await read(volume, find(volume, "copy")) == data
    world.faults.away = False
    await volume.files.fsync()
    assert volume.engine.tree.shards.held() == set()


async def test_what_is_not_here_is_not_fetched(world, volume, tmp_path, seed):
    await put_file(volume, "file", noise(seed, 50_000))
    await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as other:
        world.store.requests.clear()
        await other.cloner.clone(b"/file", b"/copy")
        await other.files.fsync()
        assert world.store.keys("get", "shards/") == world.store.keys("put", "shards/") == []
        assert other.engine.tree.shards.held() == set()
        assert await read(other, find(other, "copy")) == noise(seed, 50_000)


async def test_refusals(volume, seed):
    top = await make_source(volume, seed)
    await volume.engine.cutter.drain()
    before = tables(volume.engine.tree)
    for source, target, number in (
        (b"/source", b"/source", errno.EEXIST),
        (b"/source", b"/source/deep", errno.EEXIST),
        (b"/source", b"/", errno.EEXIST),
        (b"/source/small", b"/.storefs", errno.EEXIST),
        (b"/source", b"/source/copy", errno.EINVAL),
        (b"/source", b"/source/deep/copy/", errno.EINVAL),
        (b"/", b"/copy", errno.EINVAL),
        (b"/none", b"/copy", errno.ENOENT),
        (b"/source", b"/none/copy", errno.ENOENT),
        (b"/source", b"/source/small/copy", errno.ENOTDIR),
        (b"/source/small/x", b"/copy", errno.ENOTDIR),
        (b"/source/link/x", b"/copy", errno.ENOTDIR),
        (b"/source/../source", b"/copy", errno.EINVAL),
        (b"/source", b"/source/../copy", errno.EINVAL),
        (b"source", b"/copy", errno.EINVAL),
        (b"/source", b"copy", errno.EINVAL),
        (b"/source", b"/" + b"n" * (NAME_BYTES_MAX + 1), errno.ENAMETOOLONG),
    ):
        with refused(number):
            await volume.cloner.clone(source, target)
    for paths in (b"", b"/source", b"/source\0", b"/source\0/copy\0", b"/a\0/b\0/c"):
        with refused(errno.EINVAL):
            await volume.control.clone(paths)
    assert tables(volume.engine.tree) == before
    assert top == find(volume, "source")


async def test_the_longest_name(volume, seed, slices):
    await make_source(volume, seed)
    name = "ä" * 127 + "x"
    await volume.control.clone(b"/source\0/" + name.encode())
    assert whole(volume) == sorted(["source", name])


async def test_the_kernel_hears_of_it(world, volume, seed, slices):
    await make_source(volume, seed)
    world.kernel.entries.clear()
    await volume.cloner.clone(b"/source", b"/copy")
    assert world.kernel.entries[-1] == (ROOT_INO, b"copy")
    assert (find(volume, "copy"), True) in world.kernel.inodes
    assert (ROOT_INO, True) in world.kernel.inodes


async def test_the_kernel_hears_of_names_where_somebody_has_looked(world, volume, seed, slices):
    await make_source(volume, seed)
    insert = clone._Copying._insert

    def look(self, item):
        insert(self, item)
        volume.references.add(item.ino)

    clone._Copying._insert = look
    try:
        await volume.cloner.clone(b"/source", b"/copy")
    finally:
        clone._Copying._insert = insert
    deep = find(volume, "deep", find(volume, "copy"))
    assert (deep, b"large") in world.kernel.entries


async def during(volume, change, source=b"/source"):
    """Clone, and make a change between two slices."""
    write_slice = clone._Copying._write
    turn = 0

    def spy(self, part):
        nonlocal turn
        write_slice(self, part)
        turn += 1
        if turn == 3:
            change(self)

    clone._Copying._write = spy
    try:
        await volume.cloner.clone(source, b"/copy")
    finally:
        clone._Copying._write = write_slice
        assert turn >= 3


async def test_a_target_that_comes_meanwhile_is_left_alone(volume, seed, slices):
    await make_source(volume, seed)
    with refused(errno.EEXIST):
        await during(volume, lambda _: create(volume, "copy"))
    assert whole(volume) == ["copy", "source"], "what was made is taken back"
    assert volume.attributes.get(find(volume, "copy")).is_regular


async def test_a_full_disk_takes_it_back(volume, seed, slices):
    await make_source(volume, seed)
    before = len(tables(volume.engine.tree)["inode"])

    def fail(_):
        raise NoSpace("full")

    with pytest.raises(NoSpace):
        await during(volume, fail)
    assert whole(volume) == ["source"]
    assert len(tables(volume.engine.tree)["inode"]) == before
    await put_file(volume, "large", noise(seed, 300_000))
    with pytest.raises(NoSpace):
        await during(volume, fail, source=b"/large")
    assert whole(volume) == ["large", "source"]


@pytest.mark.parametrize("contents", [True, False])
async def test_somebody_removes_what_is_not_finished(volume, seed, slices, contents):
    if contents:
        await make_source(volume, seed)
    else:
        top = create(volume, "source", mode=FOLDER_MODE)
        for number in range(20):
            create(volume, f"{number}", top)

    def remove(copying):
        def empty(ino):
            for dentry, inode in volume.names.page(ino, 0, 1000):
                if inode.is_directory:
                    empty(inode.ino)
                    volume.names.rmdir(ino, dentry.name)
                else:
                    volume.names.unlink(ino, dentry.name)

        empty(copying._root.ino)
        volume.names.rmdir(*volume.engine.tree.dentries.name_of(copying._root.ino))

    with refused(errno.ENOENT):
        await during(volume, remove)
    assert whole(volume) == ["source"]


async def test_somebody_writes_to_what_is_not_finished(volume, seed, slices):
    await put_file(volume, "source", noise(seed, 300_000))

    def punch(copying):
        volume.engine.tree.inodes.update(copying._root.ino, cid=volume.engine.numbers.take())

    with refused(errno.EBUSY):
        await during(volume, punch)
    assert whole(volume) == ["source"]


async def test_the_target_moves_into_the_source(volume, seed, slices):
    """It ends, and nothing is copied into itself again and again."""
    top = await make_source(volume, seed)
    folder = create(volume, "folder", mode=FOLDER_MODE)
    write_slice = clone._Copying._write

    def spy(self, part):
        write_slice(self, part)
        if volume.names.lookup(ROOT_INO, b"folder") is not None:
            volume.names.rename(ROOT_INO, b"folder", top, b"zz")

    clone._Copying._write = spy
    try:
        with trio.fail_after(10):
            await volume.cloner.clone(b"/source", b"/folder/copy")
    finally:
        clone._Copying._write = write_slice
    assert whole(volume) == ["source"]
    assert listing(volume, folder) == ["copy"]
    assert listing(volume, find(volume, "zz", find(volume, "copy", folder))) == []


async def test_what_another_mount_commits_meanwhile_goes_under_it(world, volume, tmp_path, seed, slices):
    await make_source(volume, seed)
    await volume.engine.finish(60)
    wanted = await shown(volume, b"/source")
    async with world.engine_at(tmp_path / "two") as other:
        create(other, "theirs")
        create(other, "copy-of-theirs", mode=FOLDER_MODE)
        await other.attributes.set(ROOT_INO, Changes(mode=0o700))
        await other.files.fsync()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(volume.cloner.clone, b"/source", b"/copy")
            await trio.lowlevel.checkpoint()
            await volume.engine.committer.commit()
        await volume.files.fsync()
        await other.engine.follower.poll()
        for one in (volume, other):
            assert whole(one) == ["copy", "copy-of-theirs", "source", "theirs"]
            assert await shown(one, b"/copy") == wanted
        assert tables(volume.engine.tree) == tables(other.engine.tree)


async def test_a_mount_that_takes_no_changes(world, volume, tmp_path):
    create(volume, "file")
    await volume.files.fsync()
    async with world.engine_at(tmp_path / "two", ro=True) as reader:
        with pytest.raises(Exception, match="read-only"):
            await reader.cloner.clone(b"/file", b"/copy")
