"""A machine that mounts the store: its disk, its clock, its line to the store, and its crashes."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import trio

from storefs.core.backoff import Backoff
from storefs.engine.limits import Limits
from storefs.errors import NotCommitted, StoreUnavailable
from storefs.objects.memory import MemoryObjects
from storefs.objects.retry import RetryingObjects
from storefs.ports import ObjectStore
from storefs.testing.faults import Faults, FaultyObjects
from storefs.testing.simulation.trace import Trace
from storefs.testing.world import InlineOffload, Request, WatchedObjects, World, copy_disk
from storefs.volume.volume import Volume

T = TypeVar("T")

_EPOCH_NS = 1_800_000_000_000_000_000
_OFFSETS_S = (0.0, 0.0, 0.001, 2.5, -1.0, -3600.0, 3600.0, -200_000.0)
_RATES = (0.0, 0.0, 0.05, 0.2)
_THREADS_S = (0.0, 0.0, 0.02, 0.5)
_STILL_CHANCE = 0.2
_DOWN_S = (0.0, 0.3, 2.0)

Work = Callable[[Volume], Awaitable[None]]


class SkewedClock:
    """The Clock port: trio's time and an offset, or a clock that stands still."""

    def __init__(self, offset_s: float, *, still: bool) -> None:
        self._offset_ns = int(offset_s * 1e9)
        self._still = still

    def now_ns(self) -> int:
        """Return the time as this machine has it."""
        passed_ns = 0 if self._still else int(trio.current_time() * 1e9)
        return _EPOCH_NS + self._offset_ns + passed_ns


class SlowOffload(InlineOffload):
    """The Offload port of a machine whose threads take up to ``most_s`` until they come to a call."""

    def __init__(self, dice: random.Random, most_s: float) -> None:
        self._dice = dice
        self._most_s = most_s

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Return ``function(*args)``."""
        if self._most_s:
            await trio.sleep(self._dice.random() * self._most_s)
        return await super().run(function, *args)


class Machine:
    """One machine: it mounts the store, crashes, and mounts it again.

    Attributes:
        number: its number, from 1.
        faults: the faults of its line to the store.
        volume: what it has mounted; None while it is down.
        crashes: how often it has crashed.
    """

    def __init__(
        self, number: int, seed: str, memory: MemoryObjects, folder: Path, limits: Limits, trace: Trace
    ) -> None:
        self.number = number
        self.dice = random.Random(f"{seed}/machine {number}")
        self.limits = limits
        self.volume: Volume | None = None
        self._up = trio.Event()
        self.faults = FaultyObjects(memory, self.dice.getrandbits(32))
        self.latency_s = self.dice.choice((0.0, 0.0, 0.01, 0.2))
        self.crash_chance = self.dice.choice((0.0, 0.0, 0.005, 0.02))
        self._folder = folder
        self.crashes = 0
        self._disk = folder / f"disk{number}-0"
        self._trace = trace
        self._scope = trio.CancelScope()
        self._hurt = False
        self._world = World(self.dice.getrandbits(32))
        self._world.memory = memory
        self._world.clock = SkewedClock(  # type: ignore[assignment]
            self.dice.choice(_OFFSETS_S), still=self.dice.random() < _STILL_CHANCE
        )
        threads = random.Random(f"{seed}/threads {number}")
        self._world.offload = SlowOffload(threads, threads.choice(_THREADS_S))
        self._watched = WatchedObjects(self.faults)
        self._watched.before = self._before
        self._watched.after = self._after
        self._store: ObjectStore = self._watched
        if self.dice.choice((True, False)):
            self._store = RetryingObjects(self._watched, self._world.chance, Backoff(), self.limits.store_deadline_s)

    def unsettle(self) -> None:
        """Draw what goes wrong on the line from now on."""
        self._hurt = True
        before, lost, slow = (self.dice.choice(_RATES) for _ in range(3))
        self.faults.faults = Faults(before, lost, slow)

    def calm(self) -> None:
        """Let nothing go wrong any more."""
        self._hurt = False
        self.latency_s = 0.0
        self.faults.faults = Faults()
        self.faults.away = False

    async def run(self, work: Work) -> None:
        """Mount, do the work on what is mounted, and after a crash again, until the work ends by itself."""
        while True:
            self._scope = trio.CancelScope()
            with self._scope:
                try:
                    async with self._world.engine_at(self._disk, self.limits, store=self._store) as volume:
                        self.volume = volume
                        self._up.set()
                        self._trace.note(self.number, "up", volume.engine.recovered)
                        await work(volume)
                        self.volume = None
                        return
                except (StoreUnavailable, NotCommitted) as error:
                    self._trace.note(self.number, "cannot mount", error)
            self._go_down()
            if self._scope.cancelled_caught:
                self._disk = self._next_disk
            await trio.sleep(self.dice.choice(_DOWN_S) + 0.01)

    def crash(self, *, disk_lost: bool = False) -> None:
        """End the machine's process as it is: whatever its tasks are at, nothing more comes of it."""
        if self._scope.cancel_called:
            return
        self._trace.note(self.number, "crash", disk_lost)
        self.crashes += 1
        target = self._folder / f"disk{self.number}-{self.crashes}"
        if not disk_lost and self._disk.exists():
            # What the tasks still do to the old disk while they are taken down, nobody sees.
            copy_disk(self._disk, target)
        self._next_disk = target
        self._go_down()
        self._scope.cancel()

    def _go_down(self) -> None:
        self.volume = None
        if self._up.is_set():  # else somebody may be waiting for it
            self._up = trio.Event()

    async def mounted(self) -> Volume:
        """Return what it has mounted, once it has."""
        while self.volume is None:
            await self._up.wait()
        return self.volume

    @property
    def is_down(self) -> bool:
        """Whether the process has ended, or is about to."""
        return self._scope.cancel_called

    async def _before(self, request: Request) -> None:
        self._trace.note(self.number, request.operation, request.key)
        if self.latency_s:
            await trio.sleep(self.dice.random() * self.latency_s)
        await self._perhaps_crash()

    async def _after(self, request: Request) -> None:
        await self._perhaps_crash()
        if self.latency_s:
            await trio.sleep(self.dice.random() * self.latency_s)

    async def _perhaps_crash(self) -> None:
        if self._hurt and self.dice.random() < self.crash_chance:
            self.crash()
            await trio.sleep_forever()
