"""``python -m benchmarks.vault``: KVault beside KohakuVault, in one process, turn by turn; prints a table of ratios.

KohakuVault comes from PyPI (``pip install kohakuvault``). A row is values of one length; each number is the median of
the turns, in operations per second, and the ratio is storefs : KohakuVault.
"""

import argparse
import importlib
import io
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storefs.vault import KVault

_LENGTHS = {100: 20_000, 4 << 10: 10_000, 1 << 20: 100, 64 << 20: 4}
"""How many values of each length."""


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to measure: what is done with an open vault, its keys, and a value; how many operations that are."""

    name: str
    run: Callable[[Any, list[str], bytes], None]
    filled: bool


def _put(vault: Any, keys: list[str], value: bytes) -> None:
    for key in keys:
        vault[key] = value


def _put_cached(vault: Any, keys: list[str], value: bytes) -> None:
    with vault.cache():
        for key in keys:
            vault[key] = value


def _put_many(vault: Any, keys: list[str], value: bytes) -> None:
    if isinstance(vault, KVault):
        vault.put_many((key, value) for key in keys)
    else:  # it has no such call: what its users write instead
        _put_cached(vault, keys, value)


def _get(vault: Any, keys: list[str], value: bytes) -> None:
    del value
    for key in keys:
        vault.get(key)


def _get_and_keep(vault: Any, keys: list[str]) -> list[bytes]:
    return [vault.get(key) for key in keys]


def _get_many(vault: Any, keys: list[str], value: bytes) -> None:
    del value
    if isinstance(vault, KVault):
        vault.get_many(keys)
    else:
        _get_and_keep(vault, keys)


def _iterate(vault: Any, keys: list[str], value: bytes) -> None:
    del value
    assert sum(1 for _ in vault) == len(keys)


def _put_file(vault: Any, keys: list[str], value: bytes) -> None:
    for key in keys:
        vault.put_file(key, io.BytesIO(value))


def _get_to_file(vault: Any, keys: list[str], value: bytes) -> None:
    with Path(os.devnull).open("wb") as nowhere:
        for key in keys:
            assert vault.get_to_file(key, nowhere) == len(value)


_WORKS = (
    Work("put", _put, filled=False),
    Work("put, cached", _put_cached, filled=False),
    Work("put_many", _put_many, filled=False),
    Work("put_file", _put_file, filled=False),
    Work("get", _get, filled=True),
    Work("get_many", _get_many, filled=True),
    Work("iterate over keys", _iterate, filled=True),
    Work("get_to_file", _get_to_file, filled=True),
)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="turns of each")
    parser.add_argument("--lengths", type=int, nargs="+", choices=_LENGTHS, default=list(_LENGTHS), help="of values")
    parser.add_argument("--scratch", type=Path, help="where the files are made")
    chosen = parser.parse_args()
    try:
        other = importlib.import_module("kohakuvault").KVault
    except ImportError:
        sys.exit("KohakuVault is not installed: pip install kohakuvault")
    print("| values | operation | storefs, per s | KohakuVault, per s | ratio |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        for length in chosen.lengths:
            count = _LENGTHS[length]
            value = random.Random(length).randbytes(length)
            keys = [f"key:{number:08}" for number in range(count)]
            for work in _WORKS:
                ours, theirs = [], []
                for run in range(chosen.runs):
                    folder = Path(scratch, f"{length}-{work.name}-{run}")
                    folder.mkdir()
                    pairs = [(ours, KVault), (theirs, other)]
                    for times, kind in pairs if run % 2 else pairs[::-1]:
                        times.append(count / _time(kind, folder, work, keys, value))
                one, two = statistics.median(ours), statistics.median(theirs)
                print(f"| {length:,} B | {work.name} | {one:,.0f} | {two:,.0f} | {one / two:.2f} |", flush=True)


def _time(kind: Callable[[str], Any], folder: Path, work: Work, keys: list[str], value: bytes) -> float:
    """Return how many seconds a work takes on a new file."""
    path = folder / f"{kind.__module__}.db"
    vault = kind(str(path))
    try:
        if work.filled:
            _put_cached(vault, keys, value)
        begun_s = time.perf_counter()
        work.run(vault, keys, value)
        return time.perf_counter() - begun_s
    finally:
        vault.close()
        for left in folder.iterdir():
            left.unlink()


if __name__ == "__main__":
    main()
