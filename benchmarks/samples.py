"""Files for measuring: path and content of each follow from a seed, so that readers can check them without a list."""

import random
from pathlib import Path

FILES_PER_FOLDER = 100


def path_of(number: int) -> str:
    """Return where a file of a tree is."""
    return f"{number // FILES_PER_FOLDER:04d}/{number:06d}"


def folders(files: int) -> list[str]:
    """Return the folders of a tree of so many files."""
    return [f"{number:04d}" for number in range(-(-files // FILES_PER_FOLDER))]


def content_of(seed: int, number: int, size: int) -> bytes:
    """Return what a file holds: bytes that neither pack nor occur twice."""
    return random.Random(f"{seed}/{number}").randbytes(size)


def shuffled(files: int, seed: int) -> list[int]:
    """Return the numbers of all files in an order that is not theirs."""
    numbers = list(range(files))
    random.Random(f"order {seed}").shuffle(numbers)
    return numbers


def number_in(path: str) -> int:
    """Return the number of the file at ``path``."""
    return int(Path(path).name)
