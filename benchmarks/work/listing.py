"""Workloads on a tree of very many tiny files, the one that ``storefs.testing.bigstore`` makes."""

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from storefs.testing import bigstore


def list_tree(root: str, files: int, patience_s: float) -> dict[str, Any]:
    """List a tree with ls and with find; return how long each took."""
    folders = -(-files // bigstore.FILES_PER_FOLDER)
    return {
        "ls_s": _lines(["ls", "-lR", root], files + folders, patience_s),
        "find_s": _lines(["find", root], files + folders, patience_s),
    }


def fill(root: str, files: int, seed: int, threads: int) -> dict[str, Any]:
    """Write the tree."""
    for first in range(0, files, bigstore.FILES_PER_FOLDER):
        Path(root, bigstore.path_of(first)).parent.mkdir(parents=True)

    def put(first: int) -> None:
        for number in range(first, min(first + bigstore.FILES_PER_FOLDER, files)):
            Path(root, bigstore.path_of(number)).write_bytes(bigstore.content_of(seed, number))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(put, range(0, files, bigstore.FILES_PER_FOLDER)))
    return {}


def read(root: str, files: int, seed: int, threads: int) -> dict[str, Any]:
    """Walk the tree and read every file, held against what it should be."""
    start_s = time.perf_counter()
    found = sum(len(names) for _, _, names in os.walk(root))
    if found != files:
        raise AssertionError(f"found {found} files, not {files}")

    def check(first: int) -> None:
        for number in range(first, min(first + bigstore.FILES_PER_FOLDER, files)):
            path = Path(root, bigstore.path_of(number))
            if path.read_bytes() != bigstore.content_of(seed, number):
                raise AssertionError(f"{path} holds something else than was written")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(check, range(0, files, bigstore.FILES_PER_FOLDER)))
    return {"seconds": time.perf_counter() - start_s}


def _lines(command: list[str], at_least: int, patience_s: float) -> float:
    """Return how long a command took that prints so many lines."""
    start_s = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience_s, check=True)
    taken_s = time.perf_counter() - start_s
    if done.stdout.count(b"\n") < at_least:
        raise AssertionError(f"{command[0]} printed {done.stdout.count(b'%c' % 10)} lines, fewer than {at_least} files")
    return taken_s
