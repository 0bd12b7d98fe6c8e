"""Files against bytearrays: whatever is written, cut, committed, crashed and mounted anew reads the same."""

import itertools
import random
import tempfile
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storefs.testing.world import World, create, find, put_file, read, with_limits, write
from storefs.volume.attributes import Changes

NAMES = ("a", "b")
SIZE_MAX = 60_000

offsets = st.one_of(st.integers(0, 9_000), st.integers(0, SIZE_MAX))
lengths = st.one_of(st.integers(1, 300), st.integers(1, 30_000))
steps = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), offsets, lengths, st.integers(0, 3)),
    st.tuples(st.just("truncate"), st.sampled_from(NAMES), offsets),
    st.tuples(st.just("flush"), st.sampled_from(NAMES)),
    st.tuples(st.just("read"), st.sampled_from(NAMES), offsets, lengths),
    st.tuples(st.sampled_from(["cut", "drain", "commit", "wait", "restart", "crash", "evict", "renew"])),
)


def content(length: int, kind: int) -> bytes:
    """Zeros, one byte, or noise: what dedups, packs and chunks differently."""
    if kind < 2:
        return bytes([kind]) * length
    return random.Random(f"{length}/{kind}").randbytes(length)


def overlay(file: bytearray, offset: int, data: bytes) -> None:
    file.extend(bytes(max(0, offset + len(data) - len(file))))
    file[offset : offset + len(data)] = data


class Model:
    """A mount that is driven beside a dictionary of bytearrays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(1)
        self.files = {name: bytearray() for name in NAMES}
        self.disk = 0

    async def run(self, plan: list[tuple]) -> None:
        made = False
        todo = [*plan, ("crash",), ("renew",), ("end",)]
        while todo:
            async with self.world.engine_at(self.folder / f"disk{self.disk}") as volume:
                if not made:
                    for name in NAMES:
                        create(volume, name)
                    made = True
                await self.check(volume)
                while todo:
                    step = todo.pop(0)
                    if step[0] in ("restart", "crash", "renew"):
                        if step[0] != "crash":
                            await volume.engine.finish(60)
                        self.disk += step[0] == "renew"
                        break
                    await self.step(volume, *step)
                await self.check(volume)

    async def step(self, volume, verb: str, *arguments) -> None:
        engine = volume.engine
        if verb == "write":
            name, offset, length, kind = arguments
            data = content(length, kind)
            await write(volume, find(volume, name), data, offset, piece=7_000)
            overlay(self.files[name], offset, data)
        elif verb == "truncate":
            name, size = arguments
            await volume.attributes.set(find(volume, name), Changes(size=size))
            file = self.files[name]
            file[size:] = bytes(max(0, size - len(file)))
        elif verb == "flush":
            volume.files.flush(find(volume, arguments[0]))
        elif verb == "read":
            name, offset, length = arguments
            got = await read(volume, find(volume, name), offset, length)
            assert got == self.files[name][offset : offset + length]
        elif verb == "cut":
            await engine.cutter.cut_due()
        elif verb == "drain":
            await engine.cutter.drain()
        elif verb == "commit":
            await volume.files.fsync()
        elif verb == "wait":
            await trio.sleep(random.Random(len(self.files["a"])).uniform(0, 7))
        elif verb == "evict":
            engine.pressure.evict(1 << 30)

    async def check(self, volume) -> None:
        for name, expected in self.files.items():
            ino = find(volume, name)
            assert volume.attributes.get(ino).size == len(expected)
            assert await read(volume, ino) == expected, name
            extents = volume.engine.tree.extents.all(ino)
            assert all(one.end <= two.offset for one, two in itertools.pairwise(extents))
            assert not extents or extents[-1].end <= max(len(expected), volume.engine.tree.inodes.get(ino).size)


@given(st.lists(steps, max_size=25))
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_files_hold_what_was_written(plan):
    with tempfile.TemporaryDirectory() as folder:
        trio.run(Model(Path(folder)).run, plan, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("size", [0, 1, 2048, 2049, 100_000, 500_000])
async def test_a_file_comes_back_on_another_machine(world, tmp_path, autojump_clock, seed, size):
    data = random.Random(seed).randbytes(size)
    async with world.engine_at(tmp_path / "one") as volume:
        await put_file(volume, "file", data)
        await volume.engine.finish(60)
    async with world.engine_at(tmp_path / "two") as volume:
        assert await read(volume, find(volume, "file")) == data


async def test_a_sparse_file_has_holes_of_zeros(world, tmp_path, autojump_clock):
    async with world.engine_at(tmp_path / "one") as volume:
        ino = create(volume, "sparse")
        await write(volume, ino, b"begin")
        await write(volume, ino, b"end", offset=1 << 40)
        await volume.engine.finish(60)
        assert volume.attributes.get(ino).size == (1 << 40) + 3
        assert volume.attributes.blocks(volume.attributes.get(ino)) == 1
    async with world.engine_at(tmp_path / "two") as volume:
        ino = find(volume, "sparse")
        assert await read(volume, ino, 0, 100) == b"begin" + bytes(95)
        assert await read(volume, ino, 1 << 39, 100) == bytes(100)
        assert await read(volume, ino, (1 << 40) - 2, 100) == b"\0\0end"


async def test_memory_is_bounded_while_a_large_file_is_cut(world, tmp_path, autojump_clock, seed):
    """A slice never holds more than the window; the file is far longer."""
    data = random.Random(seed).randbytes(1 << 20)
    async with world.engine_at(tmp_path / "one", with_limits(partial_bytes=1 << 30)) as volume:
        await put_file(volume, "large", data)
        longest = 0
        cut = volume.engine.cutter._chunker.cut

        def spy(buffer, *, final):
            nonlocal longest
            longest = max(longest, len(buffer))
            return cut(buffer, final=final)

        volume.engine.cutter._chunker.cut = spy
        await volume.files.fsync()
        assert 0 < longest <= volume.engine.limits.window_bytes
        assert await read(volume, find(volume, "large")) == data
