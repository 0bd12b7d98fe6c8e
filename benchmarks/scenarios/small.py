"""Rows a to d: many small files, read from caches, read from S3, created."""

from collections.abc import Sequence
from typing import Any

from benchmarks.bench import Bench
from benchmarks.command import work
from benchmarks.peers.peer import Peer
from benchmarks.peers.storefs import Storefs

_THREADS = 8
_TREE = "tree"
"""A folder of its own: in its root JuiceFS shows files that nobody wrote."""


def measure_reads(bench: Bench) -> None:
    """Measure rows a, b and c on one tree."""
    tree = {"files": bench.count(10_000), "size": 16 << 10, "seed": bench.seed}
    peers = bench.peers("small")
    for peer in bench.alive(peers):
        with bench.attempt(peer), peer.mounted():
            work("fill", root=peer.directory / _TREE, threads=_THREADS, **tree)
            peer.settle()
    peers = bench.alive(peers)
    for row in sorted(bench.rows & set("abc")):
        bench.again(peers)
        if row == "c":
            _measure_cold(bench, peers, tree)
        else:
            _measure_cached(bench, peers, tree, row, ro=row == "a")


def _measure_cached(bench: Bench, peers: Sequence[Peer], tree: dict[str, Any], row: str, *, ro: bool) -> None:
    with bench.all_mounted(peers, ro=ro):
        for peer in bench.alive(peers):
            with bench.attempt(peer):
                work("verify", root=peer.directory / _TREE, threads=_THREADS, **tree)
        for _, peer in bench.turns(peers):
            with bench.attempt(peer):
                # The turns of the others, and time, may have pushed something out.
                work("read", root=peer.directory / _TREE, **tree)
                took = work("read", root=peer.directory / _TREE, **tree)
                bench.results.add(row, peer, tree["files"] / took["seconds"])


def _measure_cold(bench: Bench, peers: Sequence[Peer], tree: dict[str, Any]) -> None:
    results = bench.results
    for run, peer in bench.turns(peers):
        with bench.attempt(peer), peer.mounted(ro=True, fresh=True):
            bench.chill()
            took = work("walk-read", root=peer.directory / _TREE, threads=_THREADS, **tree)
            results.add("c", peer, tree["files"] / (took["walk_s"] + took["read_s"]))
            results.add("c.walk", peer, took["walk_s"])
            results.add("c.read", peer, took["read_s"])
            if isinstance(peer, Storefs):
                results.add("c.requests", peer, peer.requests() / tree["files"])
            if run == 0:
                work("verify", root=peer.directory / _TREE, threads=_THREADS, **tree)


def measure_creates(bench: Bench) -> None:
    """Measure row d."""
    files = bench.count(5000)
    peers = bench.peers("create")
    with bench.all_mounted(peers):
        for run, peer in bench.turns(peers):
            with bench.attempt(peer):
                root = peer.directory / f"run-{run}"
                took = work("create", root=root, files=files, size=4 << 10, seed=bench.seed + run)
                bench.results.add("d", peer, files / took["seconds"])
                if took["refused"]:
                    bench.results.remark(f"{peer.name} does not fsync a directory: {took['refused']}")
                # What it does behind its back must not cost the next one.
                peer.settle()
