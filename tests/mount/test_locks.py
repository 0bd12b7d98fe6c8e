"""Names as locks between machines: with consistency=strict one of several mounts gets the name."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.places import Mounts, Place, eventually

pytestmark = pytest.mark.mount

_ROUNDS = 2000 if os.environ.get("STOREFS_SOAK") else 200


def _make_file(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def _race(folders: list[Path], name: str, make: Callable[[Path], None]) -> list[int | None]:
    """Make one name through all mounts at once; return for each None for success, or the errno."""
    barrier = threading.Barrier(len(folders))
    found: list[int | None] = [errno.ETIMEDOUT] * len(folders)

    def run(index: int) -> None:
        barrier.wait()
        try:
            make(folders[index] / name)
            found[index] = None
        except OSError as error:
            found[index] = error.errno

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(folders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.timeout(40 + _ROUNDS)
@pytest.mark.parametrize(
    ("make", "rounds"), [(Path.mkdir, _ROUNDS), (_make_file, _ROUNDS // 4)], ids=["mkdir", "O_EXCL"]
)
def test_one_of_three_mounts_gets_the_lock(
    directory_place: Place, mounts: Mounts, make: Callable[[Path], None], rounds: int
) -> None:
    paths = [mounts(directory_place, consistency="strict").path for _ in range(3)]
    paths[0].joinpath("locks").mkdir()
    eventually(lambda: all((path / "locks").exists() for path in paths))
    folders = [path / "locks" for path in paths]
    wins = [0, 0, 0]
    for number in range(rounds):
        for folder in folders:
            list(folder.iterdir()) if number % 20 == 0 else None
        found = _race(folders, f"lock-{number}", make)
        assert sorted(map(str, found)) == sorted(["None", str(errno.EEXIST), str(errno.EEXIST)]), f"round {number}"
        wins[found.index(None)] += 1
    names = {f"lock-{number}" for number in range(rounds)}
    for folder in folders:
        eventually(lambda folder=folder: set(os.listdir(folder)) == names)
    assert all(wins), f"nobody is shut out: {wins}"


@pytest.mark.s3
@pytest.mark.timeout(120)
def test_on_s3(s3_place: Place, mounts: Mounts) -> None:
    folders = [mounts(s3_place, consistency="strict").path for _ in range(3)]
    for number in range(20):
        found = _race(folders, f"lock-{number}", Path.mkdir)
        assert sorted(map(str, found)) == sorted(["None", str(errno.EEXIST), str(errno.EEXIST)]), f"round {number}"
