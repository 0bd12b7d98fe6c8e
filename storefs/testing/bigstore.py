"""A store of very many small files, made by an engine without a mount: what a size costs is measured on it.

``python -m storefs.testing.bigstore SOURCE --files N`` makes one; path and content of each file follow from the seed.
"""

import argparse
import hashlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import trio

from storefs import wiring
from storefs.core.digest import chunk_id
from storefs.core.references import References
from storefs.engine.engine import Engine, running
from storefs.engine.shardlog import ShardLog
from storefs.engine.wakeup import Wakeup
from storefs.errors import StorefsError, UsageError
from storefs.metrics import Metrics
from storefs.model import ROOT_INO, Extent
from storefs.settings import Settings, parse_options, resolve
from storefs.testing.world import FILE_MODE, FOLDER_MODE, RecordingKernel

FILES_PER_FOLDER = 1000
BYTES_MIN, BYTES_MAX = 100, 500

_COMMIT_FILES = 20_000
_BATCH_FILES = 2_000
_COMMIT_S = 600.0
_FIRST_TIME_NS = 1_700_000_000 * 10**9


def path_of(number: int) -> str:
    """Return where in the tree a file is."""
    return f"{number // FILES_PER_FOLDER:05d}/{number:08d}.bin"


def content_of(seed: int, number: int) -> bytes:
    """Return what a file holds: bytes that neither pack nor occur twice."""
    source = hashlib.shake_128(f"{seed}/{number}".encode())
    length = BYTES_MIN + int.from_bytes(source.digest(4)) % (BYTES_MAX - BYTES_MIN + 1)
    return source.digest(4 + length)[4:]


def differences(root: Path, files: int, seed: int) -> Iterator[str]:
    """Yield how the tree at ``root``, a mount or a directory, differs from what a store of ``files`` files holds."""
    found = {os.path.relpath(Path(at) / name, root) for at, _, names in os.walk(root) for name in names}
    expected = {path_of(number) for number in range(files)}
    yield from (f"{path} is missing" for path in sorted(expected - found))
    yield from (f"{path} is too much" for path in sorted(found - expected))
    for number in range(files):
        path = path_of(number)
        if path in found and (root / path).read_bytes() != content_of(seed, number):
            yield f"{path} holds something else"


async def make(source: str, settings: Settings, files: int, seed: int) -> None:
    """Fill the empty store ``source`` with ``files`` files. Raises UsageError when it is not empty."""
    store = wiring.connect(source, settings, Metrics())
    try:
        info = await wiring.identify(store, settings)
        home = await wiring.lock_cache(info, settings, "nowhere", 0, _say)
        try:
            # Commits and snapshots come when the builder asks for them, and at the end.
            limits = replace(wiring.limits(settings, home.path), commit_interval_s=1e9, poll_s=1e9)
            world = wiring.world(store, RecordingKernel())
            async with running(world, info, home, limits, References(), ro=False) as engine:
                if not engine.tree.dentries.is_empty(ROOT_INO):
                    raise UsageError(f"{source} holds files already: name an empty place")
                await _Builder(engine, seed).fill(files)
                await engine.finish(_COMMIT_S)
        finally:
            home.release()
    finally:
        await store.close()


class _Builder:
    """Puts files into an engine's tree, thousands in a transaction: what the mount's verbs and the cutter would do."""

    def __init__(self, engine: Engine, seed: int) -> None:
        world = engine.world
        self._engine = engine
        self._seed = seed
        self._shards = ShardLog(
            engine.tree, engine.cache.files, world.offload, world.clock, world.chance, engine.limits, Wakeup()
        )
        self._folder = ROOT_INO

    async def fill(self, files: int) -> None:
        """Make and commit the files."""
        committer = self._engine.committer
        for first in range(0, files, _COMMIT_FILES):
            upto = min(first + _COMMIT_FILES, files)
            # The engine knows nothing of this shard log: no commit may come between a chunk and the end of its shard.
            async with committer.lock:
                for low in range(first, upto, _BATCH_FILES):
                    await self._add(range(low, min(low + _BATCH_FILES, upto)))
                await self._shards.seal()
            await committer.sync(_COMMIT_S)
            _say(f"{upto:,} of {files:,} files")

    async def _add(self, numbers: range) -> None:
        tree, take = self._engine.tree, self._engine.numbers.take
        contents = [content_of(self._seed, number) for number in numbers]
        chunks = [(chunk_id(content), memoryview(content)) for content in contents]
        places = await self._shards.append(chunks)
        owner = (os.geteuid(), os.getegid())
        with tree.pending.recorded():
            for number, place in zip(numbers, places, strict=True):
                folder, _, name = path_of(number).partition("/")
                now_ns = _FIRST_TIME_NS + number
                if number % FILES_PER_FOLDER == 0:
                    self._folder = take()
                    tree.inodes.insert(self._folder, FOLDER_MODE, *owner, now_ns)
                    tree.dentries.insert(ROOT_INO, folder.encode(), self._folder, take(), FOLDER_MODE)
                ino = take()
                tree.inodes.insert(ino, FILE_MODE, *owner, now_ns)
                tree.inodes.update(ino, size=place.size, cid=take())
                tree.dentries.insert(self._folder, name.encode(), ino, take(), FILE_MODE)
                tree.chunks.insert(place)
                tree.extents.insert(ino, Extent(0, place.size, place.chunk, 0))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Make the store that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m storefs.testing.bigstore", description=__doc__)
    parser.add_argument("source", help="an empty place: s3://bucket/prefix or a directory")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("-o", dest="options", default="", help="settings, as storefs mount takes them")
    chosen = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if chosen.seed is None else chosen.seed
    _say(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="storefs-bigstore-") as folder:
        options = {"cache_dir": folder, **parse_options(chosen.options)}
        try:
            trio.run(make, chosen.source, resolve(options, os.environ, None), chosen.files, seed)
        except* StorefsError as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            sys.exit(f"bigstore: {error}")


if __name__ == "__main__":
    main()
