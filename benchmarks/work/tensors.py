"""Workloads on a file of tensors in the safetensors format, mapped into memory.

The format: 8 bytes (little-endian) with the length of a JSON header, the header with each tensor's type, shape and
place, the tensors.
"""

import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

_LARGE_BYTES = 64 << 20
_SMALL_BYTES = 4 << 20


def make(path: str, size: int, seed: int) -> dict[str, Any]:
    """Write a file of tensors of 4 to 64 MiB, ``size`` bytes together; return the sum of each."""
    dice, noise = random.Random(seed), np.random.default_rng(seed)
    lengths: list[int] = []
    while (left := size - sum(lengths)) > 0:
        lengths.append(min(left, dice.randrange(_SMALL_BYTES, _LARGE_BYTES + 1, 1 << 16)))
    header: dict[str, dict[str, Any]] = {}
    at = 0
    for number, length in enumerate(lengths):
        header[f"layer.{number}.weight"] = {"dtype": "U64", "shape": [length // 8], "data_offsets": [at, at + length]}
        at += length
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    sums = {}
    with Path(path).open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, entry in header.items():
            tensor = np.frombuffer(noise.bytes(8 * entry["shape"][0]), dtype="<u8")
            sums[name] = int(tensor.sum())
            file.write(tensor.data)
    return {"sums": sums, "bytes": 8 + len(text) + at}


def touch(path: str, sums: dict[str, int], shuffle: bool, seed: int) -> dict[str, Any]:
    """Map the file, read every tensor whole, in its order or shuffled."""
    start_s = time.perf_counter()
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    length = int.from_bytes(mapped[:8].tobytes(), "little")
    header = json.loads(mapped[8 : 8 + length].tobytes())
    names = list(header)
    if shuffle:
        random.Random(seed).shuffle(names)
    found = {}
    for name in names:
        first, end = header[name]["data_offsets"]
        found[name] = int(mapped[8 + length + first : 8 + length + end].view("<u8").sum())
    taken_s = time.perf_counter() - start_s
    if found != sums:
        raise AssertionError(f"{path} holds other tensors than were written")
    return {"seconds": taken_s, "tensors": len(names)}
