"""Many small files: copied into a storefs mount, into JuiceFS and into a plain directory, until they are durable."""

import argparse
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import Juicefs, Peer, PlainDirectory, Storefs, flush_disk, median, run, seconds, started, table

FILE_BYTES = 4096
FILES_PER_DIRECTORY = 100
KINDS: dict[str, type[Peer]] = {"storefs": Storefs, "plain": PlainDirectory, "juicefs": Juicefs}

NOTE = """\
Timed: `cp -r` of {files:,} files of {bytes:,} random bytes in directories of {per_directory}, one process, its source
in the page cache; then what makes them durable. That is for storefs `storefs sync`, the start of that command included;
for JuiceFS nothing, because by default it writes each file to its object store before close returns; and for all of
them, in the end, a syncfs of the one filesystem ({filesystem}) that holds all stores, metadata and caches. Each run has
new content, so that nothing is deduplicated. The peers take turns; medians of {runs} runs after one that is not
counted. storefs keeps an embedded store; JuiceFS keeps its metadata in SQLite and its objects in a directory, and has
its default options. {cores} cores."""


@dataclass
class Times:
    """What the runs of one peer took."""

    copied_s: list[float] = field(default_factory=list)
    durable_s: list[float] = field(default_factory=list)


def make_source(source: Path, files: int) -> None:
    """Make the files that will be copied, with content that no earlier run had."""
    shutil.rmtree(source, ignore_errors=True)
    for number in range(files):
        directory = source / f"{number // FILES_PER_DIRECTORY:03d}"
        if number % FILES_PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        (directory / f"{number:06d}").write_bytes(os.urandom(FILE_BYTES))


def measure_once(peer: Peer, source: Path, target: str) -> tuple[float, float]:
    """Return how long the copy took, and how long it took until the copy was durable."""
    # What an earlier turn left to be written must not be paid for here.
    flush_disk(peer.home)
    copied_s = seconds(lambda: run("cp", "-r", source, peer.directory / target))
    return copied_s, copied_s + seconds(peer.make_durable)


def check_copy(peer: Peer, source: Path, target: str) -> None:
    """A fast copy of something else is no result."""
    run("diff", "-r", source, peer.directory / target)


def measure(peers: list[Peer], scratch: Path, files: int, runs: int) -> dict[str, Times]:
    """Let the peers take turns; return what each took, without the first turn."""
    times = {peer.name: Times() for peer in peers}
    source = scratch / "source"
    for number in range(runs + 1):
        make_source(source, files)
        for peer in peers:
            copied_s, durable_s = measure_once(peer, source, f"run-{number}")
            check_copy(peer, source, f"run-{number}")
            if number:
                times[peer.name].copied_s.append(copied_s)
                times[peer.name].durable_s.append(durable_s)
    return times


def as_table(times: dict[str, Times], files: int) -> str:
    """Return the table: the medians, and each peer's time as a multiple of the first one's."""
    first = next(iter(times))
    head = [f"{files:,} files of 4 KiB", "copied s", "durable s", "durable files/s", f"durable, times {first}"]
    unit_s = median(times[first].durable_s)
    rows = []
    for name, taken in times.items():
        copied_s, durable_s = median(taken.copied_s), median(taken.durable_s)
        rows.append(
            [name, f"{copied_s:.2f}", f"{durable_s:.2f}", f"{files / durable_s:,.0f}", f"{durable_s / unit_s:.2f}"]
        )
    return table(head, rows)


def main() -> None:
    """Measure what is here and print the table with its note."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peers", default=",".join(KINDS), help="which, separated by commas; the first is the unit")
    parser.add_argument("--scratch", type=Path, help="a directory on the disk to measure on (default: TMPDIR)")
    chosen = parser.parse_args()
    kinds = [KINDS[name] for name in chosen.peers.split(",")]
    for kind in kinds:
        if not kind.is_here():
            print(f"{kind.name} is not installed and is left out.\n")
    here = [kind for kind in kinds if kind.is_here()]
    with tempfile.TemporaryDirectory(prefix="storefs-bench-", dir=chosen.scratch, ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        filesystem = run("findmnt", "--noheadings", "--output", "FSTYPE", "--target", scratch).strip()
        with started(here, scratch) as peers:
            times = measure(peers, scratch, chosen.files, chosen.runs)
    print(as_table(times, chosen.files), end="\n\n")
    print(
        NOTE.format(
            files=chosen.files,
            bytes=FILE_BYTES,
            per_directory=FILES_PER_DIRECTORY,
            filesystem=filesystem,
            runs=chosen.runs,
            cores=os.cpu_count(),
        )
    )


if __name__ == "__main__":
    main()
