"""Workloads on many small files."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import samples


def fill(root: str, files: int, size: int, seed: int, threads: int) -> dict[str, Any]:
    """Write a tree of files; not timed, so in as many threads as help."""
    for folder in samples.folders(files):
        Path(root, folder).mkdir(parents=True)

    def put(numbers: Sequence[int]) -> None:
        for number in numbers:
            _put(f"{root}/{samples.path_of(number)}", samples.content_of(seed, number, size))

    _in_threads(put, range(files), threads)
    return {}


def read(root: str, files: int, size: int, seed: int) -> dict[str, Any]:
    """Open, read and close every file once, shuffled, in one thread."""
    paths = [f"{root}/{samples.path_of(number)}" for number in samples.shuffled(files, seed)]
    start_s = time.perf_counter()
    _get_all(paths, size)
    return {"seconds": time.perf_counter() - start_s}


def verify(root: str, files: int, size: int, seed: int, threads: int) -> dict[str, Any]:
    """Hold every file against what was written."""

    def check(numbers: Sequence[int]) -> None:
        for number in numbers:
            path = f"{root}/{samples.path_of(number)}"
            if _get(path, size) != samples.content_of(seed, number, size):
                raise AssertionError(f"{path} holds something else than was written")

    _in_threads(check, range(files), threads)
    return {}


def walk_read(root: str, files: int, size: int, seed: int, threads: int) -> dict[str, Any]:
    """Find all files with os.walk, then read them shuffled in several threads, as a loader of training data does."""
    start_s = time.perf_counter()
    paths = [f"{at}/{name}" for at, _, names in os.walk(root) for name in names]
    walked_s = time.perf_counter()
    if len(paths) != files:
        raise AssertionError(f"found {len(paths)} files, not {files}")
    paths.sort()
    order = [paths[number] for number in samples.shuffled(files, seed)]
    began_s = time.perf_counter()
    _in_threads(lambda part: _get_all(part, size), order, threads)
    return {"walk_s": walked_s - start_s, "read_s": time.perf_counter() - began_s}


def create(root: str, files: int, size: int, seed: int) -> dict[str, Any]:
    """Create, write and close files in one new directory, then fsync that."""
    contents = [samples.content_of(seed, number, size) for number in range(files)]
    Path(root).mkdir()
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    refused = None
    start_s = time.perf_counter()
    for number, content in enumerate(contents):
        _put(f"{root}/{number:06d}", content)
    try:
        os.fsync(directory)
    except OSError as error:
        refused = error.strerror
    taken_s = time.perf_counter() - start_s
    os.close(directory)
    for number, content in enumerate(contents):
        if _get(f"{root}/{number:06d}", size) != content:
            raise AssertionError(f"{root}/{number:06d} holds something else than was written")
    return {"seconds": taken_s, "refused": refused}


def _put(path: str, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    written = os.write(file, content)
    os.close(file)
    if written != len(content):
        raise AssertionError(f"{path} took {written} bytes of {len(content)}")


def _get(path: str, size: int) -> bytes:
    file = os.open(path, os.O_RDONLY)
    # One byte more than there is: a file that is too long shows, and it stays one call.
    content = os.read(file, size + 1)
    os.close(file)
    if len(content) != size:
        raise AssertionError(f"{path} has {len(content)} bytes, not {size}")
    return content


def _get_all(paths: Sequence[str], size: int) -> None:
    for path in paths:
        _get(path, size)


def _in_threads(job: Callable[[Sequence[Any]], None], items: Sequence[Any], threads: int) -> None:
    """Deal items out to threads in pieces; raise what any of them raised."""
    piece = max(1, min(64, len(items) // threads))
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(job, items[at : at + piece]) for at in range(0, len(items), piece)]:
            done.result()
