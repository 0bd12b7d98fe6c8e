"""Sorting more records than memory holds: runs on the local disk, merged."""

import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = list[Any]
"""What JSON can say, and what compares: numbers and texts, the first that differ decide."""

RUN_RECORDS = 50_000


class Sorter:
    """Records, added in any order and read back sorted. What does not fit into memory lies in ``folder``."""

    def __init__(self, folder: Path, run_records: int = RUN_RECORDS) -> None:
        self._folder = folder
        self._run_records = run_records
        self._fresh: list[Record] = []
        self._runs: list[Path] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, record: Record) -> None:
        """Add a record."""
        self._fresh.append(record)
        self._count += 1
        if len(self._fresh) >= self._run_records:
            self._write_run()

    def __iter__(self) -> Iterator[Record]:
        """Yield all records in order. Can be done more than once, but not while more are added."""
        self._fresh.sort()
        return heapq.merge(self._fresh, *(_read_run(path) for path in self._runs))

    def _write_run(self) -> None:
        path = self._folder / f"run-{len(self._runs)}"
        self._fresh.sort()
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(record)}\n" for record in self._fresh)
        self._runs.append(path)
        self._fresh = []


def _read_run(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
