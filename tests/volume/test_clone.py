"""Clone: files and trees copied by sharing what they hold."""

import errno

import pytest

from storefs.model import NAME_BYTES_MAX, ROOT_INO
from storefs.testing.world import (
    CALLER,
    FILE_MODE,
    FOLDER_MODE,
    create,
    find,
    noise,
    put_file,
    read,
    tables,
    write,
)  # fmt: skip
from storefs.volume import clone
from storefs.volume.attributes import Changes
from tests.volume.clones import make_source, refused, shown, sliced, whole


@sliced
async def test_a_copy_is_like_its_source(world, volume, tmp_path, seed, rows, monkeypatch, autojump_clock):
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
async def test_what_is_written_on_either_side_stays_there(volume, seed, rows, monkeypatch, autojump_clock):
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


async def test_a_file_and_a_link_by_themselves(volume, seed, autojump_clock):
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


async def test_a_large_file_is_copied_in_slices_too(volume, seed, slices, autojump_clock):
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
async def test_ten_thousand_files_cost_no_data(world, volume, seed, autojump_clock):
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


async def test_shared_chunks_that_are_only_here_stay_here(world, volume, seed, autojump_clock):
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


async def test_what_is_not_here_is_not_fetched(world, volume, tmp_path, seed, autojump_clock):
    await put_file(volume, "file", noise(seed, 50_000))
    await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as other:
        world.store.requests.clear()
        await other.cloner.clone(b"/file", b"/copy")
        await other.files.fsync()
        assert world.store.keys("get", "shards/") == world.store.keys("put", "shards/") == []
        assert other.engine.tree.shards.held() == set()
        assert await read(other, find(other, "copy")) == noise(seed, 50_000)


async def test_refusals(volume, seed, autojump_clock):
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


async def test_the_longest_name(volume, seed, slices, autojump_clock):
    await make_source(volume, seed)
    name = "ä" * 127 + "x"
    await volume.control.clone(b"/source\0/" + name.encode())
    assert whole(volume) == sorted(["source", name])


async def test_the_kernel_hears_of_it(world, volume, seed, slices, autojump_clock):
    await make_source(volume, seed)
    world.kernel.entries.clear()
    await volume.cloner.clone(b"/source", b"/copy")
    assert world.kernel.entries[-1] == (ROOT_INO, b"copy")
    assert (find(volume, "copy"), True) in world.kernel.inodes
    assert (ROOT_INO, True) in world.kernel.inodes


async def test_the_kernel_hears_of_names_where_somebody_has_looked(world, volume, seed, slices, autojump_clock):
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


async def test_a_mount_that_takes_no_changes(world, volume, tmp_path, autojump_clock):
    create(volume, "file")
    await volume.files.fsync()
    async with world.engine_at(tmp_path / "two", ro=True) as reader:
        with pytest.raises(Exception, match="read-only"):
            await reader.cloner.clone(b"/file", b"/copy")
