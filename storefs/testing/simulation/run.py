"""A run: a store, its machines, what happens to them, and what must be true in the end."""

import logging
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio
import trio.testing
from trio._core import _run

from storefs.engine.limits import Limits
from storefs.errors import NotCommitted, StoreUnavailable
from storefs.model import ROOT_INO
from storefs.testing.simulation.client import PUBLISHED, Client
from storefs.testing.simulation.history import History, Violation
from storefs.testing.simulation.machine import Machine, Work
from storefs.testing.simulation.trace import Trace
from storefs.testing.world import FOLDER_MODE, World, create, read, tables, with_limits
from storefs.tree import check
from storefs.tree.tree import Tree
from storefs.volume.volume import Volume

_ROUNDS = 30
"""In so many rounds of fsync and poll, machines that nobody disturbs must come to rest."""

_STEPS = (80, 180)
_SWITCH, _DICE = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"
_CALM_CHANCE = 0.2
_LOSS_CHANCE = 0.2


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to: its trace's digest, how many calls and commits it had, and how many files were left."""

    digest: str
    steps: int
    commits: int
    conflicts: int
    crashes: int
    files: int


class Simulation:
    """One run. Everything in it follows from the seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.trace = Trace()
        self._seed = f"simulation {seed}"
        self._folder = folder
        self._dice = random.Random(self._seed)
        self._history = History()
        self._world = World(0)
        memory = self._world.memory
        self._left = self._dice.randint(*_STEPS)
        self._steps = self._left
        self._quiet = trio.Event()
        self._done = trio.Event()
        self._machines = [
            Machine(number, self._seed, memory, folder, self._limits(), self.trace)
            for number in range(1, self._dice.choice((2, 2, 3, 4)) + 1)
        ]

    def _limits(self) -> Limits:
        pick = self._dice.choice
        return with_limits(
            aside_bytes=random.Random(f"{self._seed}/aside").choice((0, 1 << 20)),
            commit_interval_s=pick((0.3, 1.0, 5.0)),
            poll_s=pick((0.2, 1.0, 3.0)),
            idle_s=pick((0.5, 2.0)),
            commit_rows=pick((1, 3, 10, 20_000)),
            shard_bytes=pick((2 << 10, 8 << 10, 64 << 10)),
            partial_bytes=pick((1 << 10, 4 << 10, 32 << 10)),
            cache_bytes=pick((16 << 10, 64 << 20)),
            spare_bytes=0,
            store_deadline_s=pick((1.0, 10.0)),
            snapshot_commits=pick((5, 256)),
            snapshot_commits_unmount=32,
        )

    async def run(self) -> Report:
        """Run it to its end. Raises Violation."""
        with _failures() as failures:
            async with self._world.engine_at(self._folder / "first", store=self._world.memory) as volume:
                create(volume, PUBLISHED.decode(), mode=FOLDER_MODE)
                await volume.files.fsync()
            async with trio.open_nursery() as nursery:
                for machine in self._machines:
                    nursery.start_soon(machine.run, self._work(machine))
                await self._disturb()
                self._quiet.set()
                for machine in self._machines:
                    machine.calm()
                report = await self._end([await machine.mounted() for machine in self._machines])
                self._done.set()
            if failures:
                raise Violation(f"a background task failed: {failures[0]}")
        return report

    def _work(self, machine: Machine) -> Work:
        async def work(volume: Volume) -> None:
            async with trio.open_nursery() as nursery:
                clients = [Client(machine, volume, self._history, self.trace, nursery) for _ in range(2)]
                for client in clients:
                    nursery.start_soon(self._steps_of, machine, client)
                await self._quiet.wait()
                nursery.cancel_scope.cancel()
            for client in clients:
                client.let_go()
            await self._done.wait()

        return work

    async def _steps_of(self, machine: Machine, client: Client) -> None:
        while self._left > 0:
            await trio.sleep(machine.dice.choice((0.0, 0.0, 0.01, 0.1, 0.5)))
            self._left -= 1
            await client.step()

    async def _disturb(self) -> None:
        """Let this and that go wrong until all steps are made."""
        calm = self._dice.random() < _CALM_CHANCE
        while self._left > 0:
            await trio.sleep(self._dice.uniform(0, 2))
            for _ in range(self._dice.randrange(12)):
                await trio.lowlevel.checkpoint()
            machine = self._dice.choice(self._machines)
            if calm:
                continue
            what = self._dice.choice(("unsettle", "away", "back", "back", "calm", "crash", "lose", ""))
            self.trace.note(machine.number, "disturb", what)
            if what == "unsettle":
                machine.unsettle()
            elif what in ("away", "back"):
                machine.faults.away = what == "away"
            elif what == "calm":
                machine.calm()
            elif what == "crash" and self._dice.choice((True, False)):
                self._crash(machine)
            elif what == "lose" and self._dice.random() < _LOSS_CHANCE:
                self._crash(machine, disk_lost=True)

    def _crash(self, machine: Machine, *, disk_lost: bool = False) -> None:
        if machine.is_down:
            return
        machine.crash(disk_lost=disk_lost)
        if disk_lost:
            self._history.disk_lost(machine.number)

    async def _end(self, volumes: list[Volume]) -> Report:
        """Bring all to rest, and hold what they have against the rules."""
        await self._settle(volumes)
        first = tables(volumes[0].engine.tree)
        for number, volume in enumerate(volumes, 1):
            if faults := list(check.faults(volume.engine.tree.database)):
                raise Violation(f"mount {number}: {faults}")
            if (there := tables(volume.engine.tree)) != first:
                raise Violation(f"mounts 1 and {number} differ: {_difference(first, there)}")
        replica = await self._world.replica(self._folder / "replica.sqlite", look=self._hold_in_order)
        try:
            if (there := tables(replica)) != first:
                raise Violation(f"mount 1 and the journal differ: {_difference(first, there)}")
        finally:
            replica.close()
        contents = [content async for content in self._contents(volumes[0])]
        for volume in volumes[1:]:
            if [content async for content in self._contents(volume)] != contents:
                raise Violation("two mounts show different bytes")
        async with self._world.engine_at(self._folder / "fresh", store=self._world.memory, ro=True) as volume:
            if [content async for content in self._contents(volume)] != contents:
                raise Violation("a new mount shows different bytes")
        self._history.check_end(content for _, content in contents)
        names = volumes[0].engine.tree.database.rows("SELECT name FROM dentry")
        return Report(
            self.trace.digest,
            self._steps,
            len(await self._world.journal()),
            sum(b".conflict-" in bytes(name) for (name,) in names),
            sum(machine.crashes for machine in self._machines),
            len(contents),
        )

    def _hold_in_order(self, tree: Tree) -> None:
        """Hold the tree of a commit against rule 4."""
        folder = tree.dentries.lookup(ROOT_INO, PUBLISHED)
        assert folder is not None
        for dentry, inode in tree.dentries.page(folder.ino, 0, 1000):
            if not dentry.name.startswith(b"."):
                self._history.see_published_bytes(tree.local.position.seq, inode.ino, tree.extents.allocated(inode.ino))

    async def _settle(self, volumes: list[Volume]) -> None:
        for _ in range(_ROUNDS):
            for volume in volumes:
                if volume.engine.committer.halted is not None:
                    raise Violation(f"a mount halted: {volume.engine.committer.halted}")
                with suppress(NotCommitted, StoreUnavailable):  # what was tried while the store was away may still wait
                    await volume.files.fsync()
            for volume in volumes:
                await volume.engine.follower.poll()
            await trio.sleep(1)
            places = {volume.engine.tree.local.position for volume in volumes}
            still = not any(volume.engine.tree.pending.count or len(volume.engine.drafts) for volume in volumes)
            if still and len(places) == 1:
                return
        raise Violation("the mounts do not come to rest")

    async def _contents(self, volume: Volume) -> AsyncIterator[tuple[int, bytes]]:
        """Yield every file's inode number and content, in order."""
        rows = volume.engine.tree.database.rows("SELECT ino FROM inode WHERE mode >> 12 = 8 ORDER BY ino")
        for (ino,) in rows:
            yield ino, await read(volume, ino)


def _difference(one: dict[str, list[tuple[object, ...]]], other: dict[str, list[tuple[object, ...]]]) -> str:
    return "; ".join(
        f"{name}: {sorted(set(one[name]) - set(other[name]))} / {sorted(set(other[name]) - set(one[name]))}"
        for name in one
        if one[name] != other[name]
    )


@contextmanager
def _failures() -> Iterator[list[str]]:
    """Collect the defects that background tasks log."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                found.append(self.format(record))

    handler = Collector()
    logger = logging.getLogger("storefs")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def simulate(seed: int, folder: Path) -> Report:
    """Run a seed in an empty folder. Raises Violation, and whatever else goes wrong."""
    # Else trio shuffles which task goes on first. It has no public switch for that.
    setattr(_run, _SWITCH, True)
    getattr(_run, _DICE).seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Simulation] = []

    async def main() -> Report:
        made.append(Simulation(seed, folder))
        with trio.fail_after(10_000):
            return await made[0].run()

    try:
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        setattr(_run, _SWITCH, False)
        if made:
            (folder / "trace").write_text("\n".join(made[0].trace.lines) + "\n")
