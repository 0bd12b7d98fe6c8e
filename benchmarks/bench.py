"""One run of the benchmark: its peers, their turns, its scale, what was measured and what went wrong."""

import contextlib
import random
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import machine
from benchmarks.command import Failed
from benchmarks.peers.peer import Peer
from storefs.testing.s3server import S3Server

_TROUBLE = (Failed, OSError, subprocess.SubprocessError)


@dataclass
class Results:
    """All values by row and peer, and remarks to be read with them."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    remarks: list[str] = field(default_factory=list)

    def add(self, row: str, peer: Peer, value: float) -> None:
        """Add the value of one run."""
        self.values[row][peer.key].append(value)
        print(f"  {row:<11} {peer.name:<10} {value:>12,.3f}", file=sys.stderr, flush=True)

    def remark(self, text: str) -> None:
        """Say something about the values, once."""
        if text not in self.remarks:
            self.remarks.append(text)
            print(f"  {text}", file=sys.stderr, flush=True)

    def medians(self, row: str) -> dict[str, float]:
        """Return the median of each peer that was measured."""
        return {peer: statistics.median(values) for peer, values in self.values.get(row, {}).items()}


class Bench:
    """What the scenarios share. A peer that fails is left out of the rest of its rows, with a remark.

    Attributes:
        rows: the letters of the rows that are wanted.
        runs: how often each is measured.
        seed: what all random content and every order follow from.
    """

    def __init__(
        self, scratch: Path, server: S3Server, kinds: Sequence[type[Peer]], rows: set[str], runs: int, scale: float,
        seed: int,
    ) -> None:  # fmt: skip
        self.scratch = scratch
        self.server = server
        self.rows = rows
        self.runs = runs
        self.seed = seed
        self.results = Results()
        self._kinds = kinds
        self._scale = scale
        self._made: list[Peer] = []
        self._failed: set[Peer] = set()

    def count(self, number: int) -> int:
        """Return a number of files at this run's scale."""
        return max(100, round(number * self._scale))

    def size(self, number: int) -> int:
        """Return a number of bytes at this run's scale: whole MiB."""
        return max(8, round((number >> 20) * self._scale)) << 20

    def peers(self, scenario: str, only: Sequence[str] | None = None) -> list[Peer]:
        """Make the peers of a scenario, each with an empty store."""
        peers = []
        for kind in self._kinds:
            if only is not None and kind.key not in only:
                continue
            peer = kind(self.scratch / scenario / kind.key, self.server)
            self._made.append(peer)
            with self.attempt(peer):
                peer.prepare()
            peers.append(peer)
        return peers

    @contextlib.contextmanager
    def attempt(self, peer: Peer) -> Iterator[None]:
        """Do something with a peer. If that fails the peer is out, and the others go on."""
        try:
            yield
        except _TROUBLE as error:
            self._failed.add(peer)
            self.results.remark(f"{peer.name} failed and was left out: {_in_one_line(str(error))}")
            with contextlib.suppress(*_TROUBLE):
                peer.kill()

    def alive(self, peers: Sequence[Peer]) -> list[Peer]:
        """Return the peers that have not failed."""
        return [peer for peer in peers if peer not in self._failed]

    def again(self, peers: Sequence[Peer]) -> None:
        """Let peers take part again that failed in a row before: this one uses their stores in another way."""
        self._failed.difference_update(peers)

    def turns(self, peers: Sequence[Peer]) -> Iterator[tuple[int, Peer]]:
        """Yield (number of the run, peer): in each run all peers, in a shuffled order. What was dropped stays away."""
        for run in range(self.runs):
            order = list(peers)
            random.Random(f"turns {self.seed}/{run}").shuffle(order)
            for peer in order:
                if peer not in self._failed:
                    yield run, peer

    @contextlib.contextmanager
    def all_mounted(self, peers: Sequence[Peer], *, ro: bool = False) -> Iterator[None]:
        """Have all peers mounted inside the block."""
        try:
            for peer in self.alive(peers):
                with self.attempt(peer):
                    peer.mount(ro=ro)
            yield
            for peer in self.alive(peers):
                with self.attempt(peer):
                    peer.umount()
        except BaseException:
            for peer in peers:
                peer.kill()
            raise

    def chill(self) -> None:
        """Empty the kernel's caches, where that is allowed; mounts that are new have none of their own."""
        if machine.can_drop_caches():
            machine.drop_caches()
        else:
            self.results.remark("not root: the kernel's caches could not be dropped; `local` was read from memory")

    def chill_mounted(self, peer: Peer) -> None:
        """Empty the kernel's caches for a peer whose own cache is to stay."""
        if not machine.can_drop_caches():
            peer.umount()
            peer.mount()
        self.chill()

    def close(self) -> None:
        """Take every peer down that may still be up."""
        for peer in self._made:
            with contextlib.suppress(*_TROUBLE):
                peer.kill()


def _in_one_line(text: str) -> str:
    """Return where a message begins and how it ends."""
    first, *rest = text.strip().splitlines() or [""]
    return f"{first} ... {rest[-1].strip()}" if rest else first
