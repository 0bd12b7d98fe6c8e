"""Row j: tensors of a mapped file, in their order and shuffled, straight from S3."""

from typing import Any

from benchmarks.bench import Bench
from benchmarks.command import work
from benchmarks.peers.peer import Peer


def measure(bench: Bench) -> None:
    """Measure row j."""
    size = bench.size(1 << 30)
    for peer in bench.peers("tensors", only=("storefs",)):
        with bench.attempt(peer):
            with peer.mounted():
                path = peer.directory / "model.safetensors"
                made = work("make-tensors", path=path, size=size, seed=bench.seed)
                peer.settle()
            for run in range(bench.runs):
                # The first of a pair must not always be the same.
                taken = dict.fromkeys((bool(run % 2), not run % 2), 0.0)
                for shuffle in taken:
                    taken[shuffle] = _touch(bench, peer, made["sums"], run, shuffle=shuffle)
                bench.results.add("j.ordered", peer, taken[False])
                bench.results.add("j.shuffled", peer, taken[True])
                bench.results.add("j.ratio", peer, taken[True] / taken[False])


def _touch(bench: Bench, peer: Peer, sums: dict[str, Any], run: int, *, shuffle: bool) -> float:
    with peer.mounted(ro=True, fresh=True):
        bench.chill()
        path = peer.directory / "model.safetensors"
        took = work("touch-tensors", path=path, sums=sums, shuffle=shuffle, seed=bench.seed + run)
    return float(took["seconds"])
