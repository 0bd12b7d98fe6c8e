"""Rows f to i: one large file, written, read back from the disk's cache and from S3, read at random."""

from benchmarks.bench import Bench
from benchmarks.command import work
from benchmarks.peers.peer import Peer

_READ_BYTES = 64 << 10
_MIB = 1 << 20


def measure(bench: Bench) -> None:
    """Measure rows f, g, h and i; each run has a new file."""
    peers = bench.peers("large")
    for run, peer in bench.turns(peers):
        with bench.attempt(peer):
            _measure_one(bench, peer, run)
    if "f" in bench.rows and any(peer.key == "rclone" for peer in bench.alive(peers)):
        bench.results.remark("d, f: rclone's fsync does not wait for S3; it uploads later")


def _measure_one(bench: Bench, peer: Peer, run: int) -> None:
    size = bench.size(1 << 30)
    path = peer.directory / f"large-{run}"
    rows, results = bench.rows, bench.results
    with peer.mounted(fresh=True):
        bench.chill()
        took = work("write-large", path=path, size=size, seed=bench.seed + run)
        if "f" in rows:
            results.add("f", peer, size / _MIB / took["seconds"])
        peer.settle()
        if rows & {"g", "i"}:
            # This also brings into the cache what writing did not leave there.
            work("verify-large", path=path, digest=took["digest"])
        if "g" in rows:
            bench.chill_mounted(peer)
            results.add("g", peer, size / _MIB / work("read-large", path=path, size=size)["seconds"])
        if "i" in rows:
            bench.chill_mounted(peer)
            reads = size // _READ_BYTES // 4
            random = work("random-read", path=path, size=size, reads=reads, length=_READ_BYTES, seed=bench.seed + run)
            results.add("i", peer, reads / random["seconds"])
    with peer.mounted(fresh=True):
        if "h" in rows:
            bench.chill()
            results.add("h", peer, size / _MIB / work("read-large", path=path, size=size)["seconds"])
            work("verify-large", path=path, digest=took["digest"])
        work("remove", path=path)
