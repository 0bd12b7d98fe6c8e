"""``storefs pack`` beside ``tar``, over the same small files: ``python -m benchmarks.pack --files 1000000``."""

import argparse
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import machine
from benchmarks.command import BIN
from storefs.shard.format import InlineEntry
from storefs.shard.reader import ShardFile

_PER_FOLDER = 1000
_DAYS = 4
_MIB = 1 << 20


def content_of(seed: int, number: int, length: int) -> bytes:
    """Return what a file holds: bytes that do not shrink."""
    return hashlib.shake_128(f"{seed}/{number}".encode()).digest(length)


def make(folder: Path, files: int, length: int, seed: int) -> Path:
    """Make the files below ``folder``, and a manifest of them; return the manifest."""
    manifest = folder / "manifest.json"
    with manifest.open("w") as out:
        for number in range(files):
            at = folder / "files" / f"{number // _PER_FOLDER:05d}"
            if number % _PER_FOLDER == 0:
                at.mkdir(parents=True)
            path = at / f"{number:08d}"
            path.write_bytes(content_of(seed, number, length))
            entry = {
                "uid": f"uid-{number}",
                "created_at": f"2024-01-{1 + number % _DAYS:02d}T00:00:00Z",
                "size_bytes": length,
                "source_path": str(path),
            }
            out.write(("[" if number == 0 else ",\n") + json.dumps(entry))
        out.write("]\n")
    return manifest


def timed(*line: str | Path) -> tuple[float, int]:
    """Run a command with cold caches; return its seconds, and the most memory (RSS, bytes) of its processes together.

    Shared pages count once for each process, so that this is too much rather than too little.
    """
    if machine.can_drop_caches():
        machine.drop_caches()
    most = 0
    start_s = time.perf_counter()
    with subprocess.Popen([*map(str, line)], stdout=subprocess.DEVNULL) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal most
            while not ended.wait(0.1):
                most = max(most, sum(_rss(pid) for pid in _family(process.pid)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        taken_s = time.perf_counter() - start_s
        ended.set()
        watcher.join()
    if code:
        sys.exit(f"{line[0]} ended with {code}")
    return taken_s, most


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def compare(archive: Path, files: int, length: int, seed: int) -> None:
    """Read every file of an archive back. Exits when one is missing, too much, or not what it was."""
    seen = bytearray(files)
    for path in sorted(archive.glob("*.des")):
        with ShardFile(path) as shard:
            for entry in shard.entries:
                number = int(entry.name.removeprefix("uid-"))
                if seen[number] or not isinstance(entry, InlineEntry):
                    sys.exit(f"{path.name}: {entry.name} is there twice, or beside")
                if shard.read(entry) != content_of(seed, number, length):
                    sys.exit(f"{path.name}: {entry.name} holds something else")
                seen[number] = 1
    if not all(seen):
        sys.exit(f"uid-{seen.index(0)} is missing")


def main() -> None:
    """Measure, compare, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pack", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--bytes", type=int, default=2048, help="of each file (2048)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--scratch", type=Path, help="a directory on the disk to measure (TMPDIR)")
    chosen = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="storefs-pack-", dir=chosen.scratch))
    os.environ["STOREFS_CACHE_DIR"] = str(scratch / "cache")
    try:
        print(f"seed {chosen.seed}; {machine.describe(scratch)}", file=sys.stderr)
        manifest = make(scratch, chosen.files, chosen.bytes, chosen.seed)
        values: dict[str, list[tuple[float, int]]] = {"tar": [], "pack": []}
        for _ in range(chosen.runs):
            values["tar"].append(timed("tar", "cf", scratch / "files.tar", "-C", scratch, "files"))
            (scratch / "files.tar").unlink()
            shutil.rmtree(scratch / "archive", ignore_errors=True)
            line = (BIN / "storefs", "pack", manifest, scratch / "archive", "--compression", "none")
            values["pack"].append(timed(*line))
        compare(scratch / "archive", chosen.files, chosen.bytes, chosen.seed)
        medians = {name: sorted(runs)[len(runs) // 2] for name, runs in values.items()}
        print(f"{chosen.files:,} files of {chosen.bytes} bytes, median of {chosen.runs} runs; all came back\n")
        print("| | files/s | : tar | memory |\n| --- | ---: | ---: | ---: |")
        for name, (taken_s, memory) in medians.items():
            ratio = medians["tar"][0] / taken_s
            print(f"| {name} | {chosen.files / taken_s:,.0f} | {ratio:.2f} x | {memory / _MIB:.0f} MiB |")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
