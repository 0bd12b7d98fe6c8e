"""A volume beside the reference: the same calls, the same answers, the same tree, whatever the engine does meanwhile.

STOREFS_SEED replays a run, STOREFS_SOAK=20 makes it twenty times as long.
"""

import itertools
import os
import random
import stat
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from storefs.errors import StoreUnavailable
from storefs.testing.reference.beside import Beside
from storefs.testing.world import Request, World, copy_disk, with_limits

SOAK = int(os.environ.get("STOREFS_SOAK", "") or 1)
EXAMPLES = 70
FAR = 1 << 40
LIMITS = with_limits(snapshot_commits=6, snapshot_commits_unmount=3)
NAMES = (b"a", b"b", b"c", b"d")
ODD_NAMES = (b"\xff\xfe", b"n" * 255, b"n" * 256)
KINDS = (*[stat.S_IFREG] * 4, *[stat.S_IFDIR] * 4, stat.S_IFIFO, stat.S_IFCHR)
XATTRS = (*[b"user.a", b"user.b"] * 3, b"trusted.\xff", b"user.", b"system.posix_acl_access", b"user." + b"n" * 251)
SPACE = (0, 1, 3, 0x10, 0x11, 2, 0x20)
"""Modes of fallocate; the last two are refused."""

Step = tuple[Any, ...]

which = st.one_of(st.integers(0, 2), st.integers(0, 2), st.integers(0, 40))
"""Which file, directory or name: mostly the first few, so that calls meet."""

names = st.sampled_from([*NAMES * 5, *ODD_NAMES])
near = st.one_of(st.integers(0, 9_000), st.integers(0, 60_000))
offsets = st.one_of(near, near, near, st.sampled_from([FAR, FAR + 4095, (1 << 63) - 2]))
lengths = st.one_of(st.integers(0, 300), st.integers(1, 30_000))
times = st.one_of(st.none(), st.integers(-(10**18), 4 * 10**18))
owners = st.one_of(st.none(), st.integers(0, 5))
contents = st.builds(
    # Zeros, one byte, or noise: what dedups, packs and chunks differently.
    lambda length, kind: bytes([kind]) * length if kind < 2 else random.Random(f"{length}/{kind}").randbytes(length),
    lengths,
    st.integers(0, 4),
)


def call(verb: str, *operands: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(verb), *operands)


on_names = st.one_of(
    call("make", which, names, st.builds(int.__or__, st.sampled_from(KINDS), st.integers(0, 0o7777))),
    call("symlink", which, names, st.sampled_from([0, 1, 4095, 4096])),
    call("link", which, which, names),
    call("unlink", which, st.one_of(st.none(), st.none(), names)),
    call("rmdir", which, st.one_of(st.none(), st.none(), names)),
    call("rename", which, which, st.one_of(names, st.none()), st.sampled_from([0, 0, 1, 2])),
    call("hold", which),
    call("remove_open", which),
    call("let_go", which),
    call("list", which),
    call("list_on", which, st.integers(1, 4)),
    call("list_on", which, st.integers(1, 4)),
)
on_contents = st.one_of(
    call("write", which, offsets, contents),
    call("write", which, offsets, contents),
    call("write", which, offsets, contents),
    call("truncate", which, offsets),
    call("read", which, offsets, lengths),
    call("allocate", which, st.sampled_from(SPACE), offsets, lengths),
    call("copy_range", which, offsets, which, offsets, lengths),
    call("seek", which, offsets, st.sampled_from([os.SEEK_DATA, os.SEEK_HOLE])),
    call("close", which),
)
on_attributes = st.one_of(
    call("chmod", which, st.integers(0, 0o7777)),
    call("chown", which, owners, owners),
    call("utimens", which, times, times),
    call("set_xattr", which, st.sampled_from(XATTRS), st.binary(max_size=3)),
    call("set_xattr", which, st.sampled_from(XATTRS), st.sampled_from([bytes(65536), bytes(65537)])),
    call("get_xattr", which, st.sampled_from(XATTRS)),
    call("remove_xattr", which, st.sampled_from(XATTRS)),
)
hops = st.sampled_from([3, 2, 4, 5, 1, 8, 12])
"""How many turns of the event loop the engine gets: a cut takes about six, a commit more."""

disturbances = st.one_of(
    call("cut"),
    call("drain"),
    call("commit"),
    call("evict"),
    call("forget"),
    call("check"),
    call("wait", st.floats(0.01, 7)),
    call("begin", st.sampled_from(["drain", "cut", "commit"]), hops),
    call("hop", hops),
    call("second"),
)
meanwhile = call(
    "meanwhile",
    which,
    st.one_of(
        contents, st.builds(bytes.__mul__, st.sampled_from([b"long", b"abcdefghijk"]), st.integers(3_000, 9_000))
    ),
    st.sampled_from(["drain", "cut", "commit"]),
    hops,
    st.one_of(on_contents, on_contents, on_names, on_attributes),
)
listings = call("list_while", which, st.integers(1, 3), st.lists(on_names, max_size=4))
ends = st.sampled_from([("restart",), ("renew",), ("kill",), ("kill",), ("power cut",)])
steps = st.one_of(
    call("hop", st.just(0)),  # nothing: what Hypothesis puts in the place of what a failure does not need
    *[on_names] * 5,
    *[on_contents] * 5,
    *[on_attributes] * 2,
    *[disturbances] * 3,
    meanwhile,
    meanwhile,
    listings,
    ends,
)
# Left to itself, Hypothesis draws short lists; a plan that is found to fail becomes a short one.
plans = st.one_of(st.lists(steps, max_size=15), *[st.lists(steps, min_size=30, max_size=90)] * 4)
BEGIN: list[Step] = [
    ("make", 0, b"a", stat.S_IFDIR | 0o755),
    ("make", 1, b"b", stat.S_IFDIR | 0o2755),
    ("make", 0, b"c", stat.S_IFREG | 0o644),
    ("make", 1, b"c", stat.S_IFREG | 0o644),
    ("write", 0, 0, b"first"),
    ("write", 1, 3_000, b"second" * 1_000),
]


class Disturbed(Beside):
    """A volume beside the reference, with what must not change anything that can be seen."""

    folder: Path
    world: World
    nursery: trio.Nursery

    async def unlink(self, where: int, name: bytes | None) -> None:
        await self.remove(where, name, directory=False)

    async def rmdir(self, where: int, name: bytes | None) -> None:
        await self.remove(where, name, directory=True)

    async def remove_open(self, where: int) -> None:
        """Remove a name of a file that somebody has open."""
        parent, name = self._entry(where)
        ino = self.reference.lookup(parent, name)
        if ino is not None:
            self._hold(ino, self.inos[ino])
            await self.remove(where, None, directory=self.reference.nodes[ino].is_directory)

    async def close(self, file: int) -> None:
        if found := self._regular(file):
            self.volume.files.flush(found[1])

    async def cut(self) -> None:
        await self.volume.engine.cutter.cut_due()

    async def drain(self) -> None:
        await self.volume.engine.cutter.drain()

    async def commit(self) -> None:
        await self.volume.engine.committer.sync()

    async def evict(self) -> None:
        self.volume.engine.pressure.evict(1 << 40)

    async def forget(self) -> None:
        """Drop what is decoded in memory."""
        decoded = self.volume.engine.reader._fetcher._decoded
        decoded._contents.clear()
        decoded.bytes = 0

    async def wait(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def begin(self, verb: str, hops: int) -> None:
        """Let the engine do something while the next calls come."""
        self.nursery.start_soon(getattr(self, verb))
        await self.hop(hops)

    async def list_while(self, parent: int, limit: int, steps: list[Step]) -> None:
        """List a directory to its end, with other calls between the pages."""
        self.list(parent)
        for step in steps:
            self.list_on(-1, limit)
            await self.step(*step)
        while self._listings:
            self.list_on(0, limit)

    async def meanwhile(self, file: int, data: bytes, verb: str, hops: int, step: Step) -> None:
        """Write, and make another call while that is being cut or committed."""
        await self.write(file, 0, data)
        await self.begin(verb, hops)
        await self.step(*step)

    async def step(self, verb: str, *operands: Any) -> None:
        done = getattr(self, verb)(*operands)
        if done is not None:
            await done

    async def hop(self, hops: int) -> None:
        for _ in range(hops):
            await trio.lowlevel.checkpoint()

    async def second(self) -> None:
        """Commit, and look at it from another machine."""
        await self.commit()
        with tempfile.TemporaryDirectory(dir=self.folder) as disk:
            async with self.world.engine_at(Path(disk), LIMITS, ro=True) as other:
                await self.check(other)


class Machine:
    """Runs a plan: as many lives of an engine as it takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(1)
        self.disks = (folder / f"disk{number}" for number in itertools.count())
        self.disk = next(self.disks)
        self.beside: Disturbed | None = None

    async def run(self, plan: list[Step]) -> None:
        todo = [*BEGIN, *plan, ("check",), ("kill",), ("commit",), ("check",), ("renew",), ("restart",)]
        while todo:
            self.world.store.before = self.world.store.after = pass_on
            async with self.world.engine_at(self.disk, LIMITS) as volume:
                if self.beside is None:
                    self.beside = Disturbed(volume, lambda: self.world.clock.at_ns)
                    self.beside.folder, self.beside.world = self.folder, self.world
                self.beside.restarted(volume)
                await self.beside.check()
                async with trio.open_nursery() as self.beside.nursery:
                    await self.live(self.beside, todo)

    async def live(self, beside: Disturbed, todo: list[Step]) -> None:
        """Take steps up to the end of a life."""
        while True:
            verb, *operands = todo.pop(0)
            if verb in ("restart", "renew", "kill", "power cut"):
                await self.end(beside, verb)
                return
            await beside.step(verb, *operands)
            beside.check_all_attributes()

    async def end(self, beside: Disturbed, verb: str) -> None:
        if verb in ("kill", "power cut"):
            if verb == "power cut":  # what the store has not is not promised to survive it
                await beside.commit()
                self.world.power_cut()
            self.disk = copy_disk(self.disk, next(self.disks))
            # The killed one goes on for a few steps here, but nobody hears of it.
            self.world.store.before = self.world.store.after = fail
        else:
            await beside.volume.engine.finish(60)
            if verb == "renew":
                self.disk = next(self.disks)
        beside.nursery.cancel_scope.cancel()


async def pass_on(_: Request) -> None:
    pass


async def fail(_: Request) -> None:
    raise StoreUnavailable("the process is dead")


@pytest.mark.timeout(120 * SOAK)
def test_a_volume_does_what_the_reference_does(seed: int) -> None:
    @hypothesis.seed(seed)
    @given(plans)
    @settings(
        max_examples=EXAMPLES * SOAK,
        deadline=None,
        derandomize=False,
        print_blob=True,
        phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    def beside_each_other(plan: list[Step]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            trio.run(Machine(Path(folder)).run, plan, clock=trio.testing.MockClock(autojump_threshold=0))

    beside_each_other()
