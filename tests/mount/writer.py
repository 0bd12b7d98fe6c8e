"""A program that writes into a mount and notes, in a log elsewhere, whatever the mount has acknowledged.

    python writer.py close|fsync|append FOLDER LOG SEED

``close``: files, each noted when its close returned. ``fsync``: likewise, when its fsync returned. ``append``: one
file, noted after each write. A note is a line: name, size, digest.
"""

import contextlib
import hashlib
import os
import random
import sys
from pathlib import Path

COUNT = 2000
_WRITE_BYTES = 128 << 10


def main() -> None:
    verb, folder, log, seed = sys.argv[1:]
    chance = random.Random(int(seed))
    # A daemon that is killed ends this program too.
    with contextlib.suppress(OSError), open(log, "w", buffering=1, encoding="utf-8") as notes:
        if verb == "append":
            _append(Path(folder) / "appended", notes.write, chance)
        for number in range(COUNT):
            content = chance.randbytes(int(2 ** chance.uniform(0, 20)))
            name = f"{verb}-{number}"
            with open(Path(folder) / name, "wb", buffering=0) as file:
                file.writelines(content[start : start + _WRITE_BYTES] for start in range(0, len(content), _WRITE_BYTES))
                if verb == "fsync":
                    os.fsync(file.fileno())
            notes.write(f"{name} {len(content)} {hashlib.blake2b(content).hexdigest()}\n")


def _append(path: Path, note, chance: random.Random) -> None:  # type: ignore[no-untyped-def]
    digest, size = hashlib.blake2b(), 0
    with open(path, "wb", buffering=0) as file:
        for _ in range(COUNT):
            content = chance.randbytes(chance.randint(1, 1 << 20))
            written = file.write(content)
            digest.update(content[:written])
            size += written
            note(f"{path.name} {size} {digest.hexdigest()}\n")


if __name__ == "__main__":
    main()
