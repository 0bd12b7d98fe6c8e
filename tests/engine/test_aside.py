"""Long changes made beside the loop: invisible until they are whole, and in nobody's way."""

import functools
import threading

import pytest
import trio
import trio.testing

from storefs.core.chunking import ChunkSizes
from storefs.core.storeinfo import StoreInfo
from storefs.engine.aside import Aside
from storefs.errors import Diverged
from storefs.testing.world import InlineOffload, create, listing, put_file, read, tables, with_limits, write
from storefs.tree.tree import Tree

FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


class Threads:
    """The Offload port with threads."""

    def __init__(self, threads=2):
        self.limiter = trio.CapacityLimiter(threads)

    async def run(self, function, *args):
        return await trio.to_thread.run_sync(functools.partial(function, *args), limiter=self.limiter)


@pytest.fixture
def tree(tmp_path):
    tree = Tree(tmp_path / "tree.sqlite")
    tree.plant(StoreInfo(bytes(16), 5, 0o040755, 1000, 1000, ChunkSizes()))
    yield tree
    tree.close()


@pytest.fixture
def aside(tree):
    aside = Aside(tree, Threads())
    yield aside
    aside.close()


def insert(tree, ino):
    with tree.pending.recorded():
        tree.inodes.insert(ino, 0o100644, 0, 0, 5)


def inserting(ino):
    def change(twin):
        twin.inodes.insert(ino, 0o100644, 0, 0, 5)
        return ino

    return change


def exists(tree, ino):
    return tree.inodes.mode_and_group(ino) is not None


async def test_a_change_is_seen_whole_or_not_at_all(tree, aside):
    half, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def change(twin):
        twin.inodes.insert(10, 0o100644, 0, 0, 5)
        token.run_sync_soon(half.set)
        go_on.wait()
        twin.inodes.insert(11, 0o100644, 0, 0, 5)
        return "done"

    async def look():
        await half.wait()
        assert not exists(tree, 10)
        go_on.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        assert await aside.attempt(change, lambda _twin, result: result == "done") == "done"
        assert exists(tree, 10)
        assert exists(tree, 11)


@pytest.mark.parametrize("busy_with", ["a statement", "something else"])
async def test_who_writes_meanwhile_goes_first(tree, aside, busy_with):
    half, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def change(twin):
        twin.inodes.insert(10, 0o100644, 0, 0, 5)
        token.run_sync_soon(half.set)
        if busy_with == "a statement":
            twin.database.row(FOREVER)
        go_on.wait(0.1)

    async def write_meanwhile():
        await half.wait()
        insert(tree, 20)
        assert tree.pending.count == 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_meanwhile)
        assert await aside.attempt(change, lambda _twin, _result: True) is None
    assert not exists(tree, 10)
    assert exists(tree, 20)
    assert await aside.attempt(inserting(30), lambda _twin, _result: True) == 30
    assert exists(tree, 30)
    assert exists(tree, 20)


async def test_who_writes_before_the_thread_begins_goes_first(tree, tmp_path):
    offload = Threads(1)
    aside = Aside(tree, offload)
    begun = []
    async with trio.open_nursery() as nursery, offload.limiter:  # every thread is taken

        async def attempt():
            begun.append(await aside.attempt(lambda _twin: "ran", lambda _twin, _result: True))

        nursery.start_soon(attempt)
        await trio.testing.wait_all_tasks_blocked()
        insert(tree, 20)
    assert begun == [None]
    assert exists(tree, 20)
    aside.close()


async def test_a_change_whose_grounds_are_gone_is_taken_back(tree, aside):
    assert await aside.attempt(inserting(10), lambda _twin, _result: False) is None
    assert not exists(tree, 10)


async def test_an_error_takes_the_change_back(tree, aside):
    def change(twin):
        inserting(10)(twin)
        raise Diverged("so it goes")

    with pytest.raises(Diverged):
        await aside.attempt(change, lambda _twin, _result: True)
    assert not exists(tree, 10)
    insert(tree, 20)
    await aside.calm()


async def test_a_change_that_is_cancelled_is_taken_back(tree, aside):
    with trio.CancelScope() as scope:
        scope.cancel()
        await aside.attempt(inserting(10), lambda _twin, _result: True)
    assert not exists(tree, 10)
    insert(tree, 20)
    await aside.calm()


async def test_calm_waits_for_a_change(tree, aside):
    order = []
    await aside.calm()
    half, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def change(_twin):
        token.run_sync_soon(half.set)
        go_on.wait()
        return 1

    async def attempt():
        await aside.attempt(change, lambda _twin, _result: not order.append("changed"))

    async def wait():
        await aside.calm()
        order.append("calm")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt)
        await half.wait()
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.01)
        order.append("going on")
        go_on.set()
    assert order == ["going on", "changed", "calm"]


async def test_what_is_in_memory_follows_the_other_connection(tree, aside):
    insert(tree, 20)
    tree.local.add_orphan(20)

    def change(twin):
        twin.local.remove_orphan(20)
        twin.pending.drop(twin.pending.last)
        return 1

    tree.database.remembered()["answer"] = "old"
    assert await aside.attempt(change, lambda _twin, _result: True)
    assert tree.local.orphans() == []
    assert (tree.pending.count, tree.pending.bytes) == (0, 0)
    assert "answer" not in tree.database.remembered()


# --- commits of others ------------------------------------------------------------------------------------------------


class Meanwhile(InlineOffload):
    """Lets something happen right after a commit of others was applied aside, before that counts."""

    def __init__(self):
        self.happen = None
        self.times = 0

    async def run(self, function, *args):
        answer = await super().run(function, *args)
        if self.happen is not None and getattr(function, "__name__", "") == "_work":
            self.times += 1
            happen, self.happen = self.happen, None
            await happen()
        return answer


@pytest.mark.parametrize("what", ["a file is opened", "a file is written to", "a file is made", "nothing"])
async def test_what_happens_while_a_commit_is_merged_counts(world, tmp_path, autojump_clock, what):
    world.offload = meanwhile = Meanwhile()
    limits = with_limits(aside_bytes=0)
    async with world.engine_at(tmp_path / "1", limits) as one, world.engine_at(tmp_path / "2", limits) as two:
        file = await put_file(one, "file", b"0" * 5000)
        await one.files.fsync()
        await two.engine.follower.poll()
        one.names.unlink(1, b"file")
        await one.files.fsync()

        async def happen():
            assert listing(two) == ["file"], "not yet"
            if what == "a file is opened":
                two.references.add(file)
            elif what == "a file is written to":
                await write(two, file, b"2" * 1000, 4500)
            elif what == "a file is made":
                create(two, "made")

        meanwhile.happen = happen
        await two.engine.follower.poll()
        assert meanwhile.times == 1
        if what == "a file is opened":
            assert listing(two) == []
            assert await read(two, file) == b"0" * 5000
            two.names.forget(file, 1)
        await two.files.fsync()
        await one.engine.follower.poll()
        assert tables(one.engine.tree) == tables(two.engine.tree)
        left = {"a file is written to": b"0" * 4500 + b"2" * 1000, "a file is made": b""}
        found = [await read(two, two.names.lookup(1, name.encode()).ino) for name in listing(two)]
        assert found == ([left[what]] if what in left else [])
