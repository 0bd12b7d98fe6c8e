"""The upkeep beside mounts at full work: deleting, rewriting and keeping trees disturbs no reader and no writer."""

import os
import random
import threading
import time
from pathlib import Path

import pytest

from storefs.testing.mounted import run_storefs
from tests.mount.places import Mounts, Place

pytestmark = pytest.mark.mount

_FILES = 60
_FOR_S = 12


class _Worker(threading.Thread):
    """Rewrites files of its own and reads those of all, until it is told to stop; ``wrong`` says what it met."""

    def __init__(self, number: int, roots: list[Path], seed: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._number = number
        self._roots = roots
        self._dice = random.Random(f"{seed}/{number}")
        self._stop_asked = stop
        self.wrong: list[str] = []
        self.reads = self.writes = 0

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self._write()
                for _ in range(5):
                    self._read()
        except Exception as error:  # told by the test
            self.wrong.append(repr(error))

    def _write(self) -> None:
        """Replace a file by a new version, as programs do that want no half-written ones to be seen."""
        number = self._dice.randrange(_FILES)
        path = self._roots[self._number] / f"{self._number}-{number:02}"
        content = b"%d %d\n" % (self._number, number) + self._dice.randbytes(self._dice.randrange(1000, 60_000))
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(content)
        if self._dice.random() < 0.1:
            path.unlink(missing_ok=True)
        fresh.rename(path)
        self.writes += 1

    def _read(self) -> None:
        where = self._dice.randrange(len(self._roots))
        owner, number = self._dice.randrange(len(self._roots)), self._dice.randrange(_FILES)
        try:
            content = (self._roots[where] / f"{owner}-{number:02}").read_bytes()
        except FileNotFoundError:
            return
        self.reads += 1
        if not content.startswith(b"%d %d\n" % (owner, number)):
            self.wrong.append(f"{owner}-{number:02} on mount {where}: {len(content)} bytes, {content[:20]!r}")


@pytest.mark.timeout(120)
def test_upkeep_beside_two_mounts_at_full_work(directory_place: Place, mounts: Mounts, seed: int) -> None:
    # A small cache, so that readers depend on the shards in the store.
    options = {"cache_size": "4M", "memory": "1M", "dirty_limit": "64M"}
    pair = [mounts(directory_place, **options) for _ in range(2)]
    stop = threading.Event()
    workers = [_Worker(number, [mount.path for mount in pair], seed, stop) for number in range(2)]
    for worker in workers:
        worker.start()
    done: dict[str, int] = {}
    until_s = time.monotonic() + _FOR_S
    turn = 0
    while time.monotonic() < until_s:
        turn += 1
        for words in (
            ("compact", directory_place.source),
            ("snapshot", "create", f"s{turn}", directory_place.source),
            ("gc", directory_place.source, "--grace", "4s"),
            ("snapshot", "delete", f"s{turn}", directory_place.source),
        ):
            ran = run_storefs(*words)
            assert ran.returncode == 0, ran.stderr
            done[words[0]] = done.get(words[0], 0) + 1
    stop.set()
    for worker in workers:
        worker.join(30)
        assert not worker.is_alive()
        assert worker.wrong == []
        assert worker.reads > 20
        assert worker.writes > 5
    for mount in pair:
        mount.sync()
        assert mount.status()["errors"] == 0
        assert mount.status()["conflicts"] == 0
    for mount in pair:
        mount.sync()
    assert {p.name: p.read_bytes() for p in pair[0].path.iterdir()} == {
        p.name: p.read_bytes() for p in pair[1].path.iterdir()
    }
    checked = run_storefs("fsck", directory_place.source, "--data")
    assert checked.returncode == 0, checked.stdout
    print(
        f"{[(worker.reads, worker.writes) for worker in workers]} reads and writes; {done}",
        os.listdir(directory_place.source),
    )
