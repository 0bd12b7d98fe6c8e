"""Workloads on one large file."""

import hashlib
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

_PIECE_BYTES = 1 << 20


def write(path: str, size: int, seed: int) -> dict[str, Any]:
    """Write a new file from start to end, then fsync it. What is written is made before the clock starts."""
    content = memoryview(np.random.default_rng(seed).bytes(size))
    start_s = time.perf_counter()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    for at in range(0, size, _PIECE_BYTES):
        piece = content[at : at + _PIECE_BYTES]
        if os.write(file, piece) != len(piece):
            raise AssertionError(f"{path} took less than it was given at {at}")
    os.fsync(file)
    synced_s = time.perf_counter()
    os.close(file)
    return {"seconds": synced_s - start_s, "digest": hashlib.sha256(content).hexdigest()}


def read(path: str, size: int) -> dict[str, Any]:
    """Read a file from start to end."""
    start_s = time.perf_counter()
    file = os.open(path, os.O_RDONLY)
    total = 0
    while part := os.read(file, _PIECE_BYTES):
        total += len(part)
    os.close(file)
    taken_s = time.perf_counter() - start_s
    if total != size:
        raise AssertionError(f"{path} has {total} bytes, not {size}")
    return {"seconds": taken_s}


def verify(path: str, digest: str) -> dict[str, Any]:
    """Read a file and hold it against the digest of what was written."""
    with Path(path).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise AssertionError(f"{path} holds something else than was written")
    return {}


def read_randomly(path: str, size: int, reads: int, length: int, seed: int) -> dict[str, Any]:
    """Read pieces of a file, none twice, in an order that is not theirs."""
    offsets = random.Random(seed).sample(range(0, size - length + 1, length), reads)
    start_s = time.perf_counter()
    file = os.open(path, os.O_RDONLY)
    for offset in offsets:
        if len(os.pread(file, length, offset)) != length:
            raise AssertionError(f"{path} is short at {offset}")
    os.close(file)
    return {"seconds": time.perf_counter() - start_s}


def remove(path: str) -> dict[str, Any]:
    """Remove a file."""
    Path(path).unlink()
    return {}
