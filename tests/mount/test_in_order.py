"""What a program does in order on one mount is seen in order on another: content, name, mark."""

import itertools
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.places import Mounts, Place

pytestmark = pytest.mark.mount

_FOR_S = 6.0
_FILES = 20
_OFTEN = {"commit_interval": "40ms", "poll_interval": "20ms"}


def _rename_into_place(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.rename(path)


def _write_in_place(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.pwrite(fd, content, 0)
    finally:
        os.close(fd)


def _round_of(path: Path) -> int:
    """Return in which round a file was written: it begins with that, the rest is noise of any length."""
    content = path.read_bytes()
    assert len(content) >= 8, f"{path.name} has {len(content)} bytes"
    return int(content[:8])


class _Rounds:
    """Writes all files round after round, and then the mark, which says the round, in another directory."""

    def __init__(self, one: Path, two: Path, put: Callable[[Path, bytes], None], seed: int) -> None:
        self._one, self._two, self._put = one, two, put
        self._dice = random.Random(seed)
        self.over = threading.Event()
        self.seen = 0
        self.wrong: list[str] = []

    def write(self) -> None:
        for number in itertools.count(1):
            if self.over.is_set():
                return
            for file in range(_FILES):
                noise = self._dice.randbytes(self._dice.randrange(20_000))
                self._put(self._one / "files" / f"{file}", b"%08d" % number + noise)
            _rename_into_place(self._one / "marks" / "mark", b"%08d" % number)

    def read(self) -> None:
        last = 0
        while not self.over.is_set():
            try:
                mark = _round_of(self._two / "marks" / "mark")
            except FileNotFoundError:
                continue
            if mark == last:
                time.sleep(0.0005)
                continue
            last = mark
            self.seen += 1
            found = [_round_of(self._two / "files" / f"{file}") for file in range(_FILES)]
            self.wrong += [
                f"{file} is of round {one} beside mark {mark}" for file, one in enumerate(found) if one < mark
            ]

    def thread(self, work: Callable[[], None]) -> threading.Thread:
        """Return a started thread that does some of it; what goes wrong is told."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self.wrong.append(repr(error))

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread


@pytest.mark.timeout(120)
@pytest.mark.parametrize("put", [_rename_into_place, _write_in_place])
def test_beside_a_mark_all_is_there(
    directory_place: Place, mounts: Mounts, seed: int, put: Callable[[Path, bytes], None]
) -> None:
    one, two = (mounts(directory_place, **_OFTEN) for _ in range(2))
    for name in ("files", "marks"):
        (one.path / name).mkdir()
    one.sync()
    two.sync()
    rounds = _Rounds(one.path, two.path, put, seed)
    threads = [rounds.thread(rounds.write), rounds.thread(rounds.read)]
    time.sleep(_FOR_S)
    rounds.over.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert rounds.wrong == []
    assert rounds.seen > 10
    assert "ERROR" not in one.log + two.log
