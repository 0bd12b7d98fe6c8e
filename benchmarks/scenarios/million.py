"""Rows k and l: a store of a million files: what it costs in memory, how long its mount takes."""

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.command import work
from benchmarks.peers.peer import Peer
from benchmarks.peers.storefs import Storefs
from benchmarks.scenarios.listing import make_big

_MIB = 1 << 20


def measure(bench: Bench) -> None:
    """Measure row l in all runs and row k once: memory does not scatter as time does, and reading so much is slow."""
    files = bench.count(1_000_000)
    for peer in bench.peers("million", only=("storefs",)):
        with bench.attempt(peer):
            assert isinstance(peer, Storefs)
            make_big(peer, files, bench.seed)
            if "l" in bench.rows:
                for _ in range(bench.runs):
                    _measure_mount(bench, peer)
            if "k" in bench.rows:
                _measure_memory(bench, peer, files)
    bench.results.remark(f"k, l: {files:,} files of 100 to 500 bytes")


def _measure_mount(bench: Bench, peer: Storefs) -> None:
    peer.forget()
    try:
        bench.results.add("l", peer, peer.mount_timed())
        peer.umount()
    except BaseException:
        peer.kill()
        raise


def _measure_memory(bench: Bench, peer: Storefs, files: int) -> None:
    tenth = files // 10
    for smaller in bench.peers("million-tenth", only=("storefs",)):
        assert isinstance(smaller, Storefs)
        make_big(smaller, tenth, bench.seed)
        few = _memory_after_reading(smaller, tenth, bench.seed)
        bench.results.add("k.tenth", peer, few / _MIB)
        many = _memory_after_reading(peer, files, bench.seed)
        bench.results.add("k.all", peer, many / _MIB)
        bench.results.add("k.ratio", peer, many / few)


def _memory_after_reading(peer: Peer, files: int, seed: int) -> int:
    assert isinstance(peer, Storefs)
    with peer.mounted(fresh=True):
        work("read-big", root=peer.directory, files=files, seed=seed, threads=8, limit_s=600 + files / 50)
        return machine.anonymous_bytes(peer.status()["pid"])
