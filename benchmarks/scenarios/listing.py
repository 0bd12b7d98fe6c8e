"""Row e: a large tree listed for the second time."""

import contextlib
import os
import sys
from pathlib import Path

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.command import run, work
from benchmarks.peers.peer import Peer
from benchmarks.peers.storefs import Storefs
from storefs.settings import join_options

_LIMIT_S = 600.0


def measure(bench: Bench) -> None:
    """Measure row e."""
    files = bench.count(100_000)
    # A peer that puts each file into S3 by itself would need many minutes for all of them.
    fewer = max(100, files // 10)
    peers = bench.peers("listing", only=("storefs", "local", "juicefs"))
    counts = {peer: fewer if peer.key == "juicefs" else files for peer in peers}
    for peer in bench.alive(peers):
        with bench.attempt(peer):
            _fill(bench, peer, counts[peer])
    bench.results.remark(f"e: JuiceFS lists {fewer:,} files, the others {files:,}")
    with bench.all_mounted(peers):
        for _, peer in bench.turns(peers):
            with bench.attempt(peer):
                _measure_one(bench, peer, counts[peer])


def _fill(bench: Bench, peer: Peer, files: int) -> None:
    if isinstance(peer, Storefs):
        make_big(peer, files, bench.seed)
        return
    with peer.mounted():
        work("fill-big", root=_root(peer), files=files, seed=bench.seed, threads=8)


def _root(peer: Peer) -> Path:
    """Return where the tree is: in its root JuiceFS shows files that nobody wrote."""
    return peer.directory if isinstance(peer, Storefs) else peer.directory / "tree"


def make_big(peer: Storefs, files: int, seed: int) -> None:
    """Fill the store of a peer that is not mounted."""
    options = {"endpoint_url": peer.server.endpoint, "cache_dir": str(peer.home / "builder")}
    words = ("--files", str(files), "--seed", str(seed), "-o", join_options(options))
    run(sys.executable, "-m", "storefs.testing.bigstore", peer.source, *words, limit_s=_LIMIT_S + files / 500)


def _measure_one(bench: Bench, peer: Peer, files: int) -> None:
    results = bench.results
    work("list", root=_root(peer), files=files, patience_s=_LIMIT_S)
    with contextlib.ExitStack() as stack:
        counted = stack.enter_context(machine.counted_requests(peer.mountpoint)) if isinstance(peer, Storefs) else None
        pid = peer.status()["pid"] if isinstance(peer, Storefs) else os.getpid()
        before_s = machine.cpu_s(pid)
        took = work("list", root=_root(peer), files=files, patience_s=_LIMIT_S)
        used_s = machine.cpu_s(pid) - before_s
    results.add("e.ls", peer, files / took["ls_s"])
    results.add("e.find", peer, files / took["find_s"])
    if counted is None:
        return
    results.add("e.cpu", peer, used_s)
    if counted.number is None:
        results.remark("e: requests at the daemon could not be counted (that needs root and the kernel's trace events)")
    else:
        results.add("e.requests", peer, counted.number / files)
