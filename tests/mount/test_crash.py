"""The daemon is killed at any moment: what it acknowledged is there after the next mount, and then in the store."""

import contextlib
import hashlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted
from storefs.testing.trees import Described, describe, differences, make_tree
from tests.mount import writer
from tests.mount.places import Mounts, Place, eventually

pytestmark = pytest.mark.mount


class Writer:
    """The writer program, at work until the daemon is killed."""

    def __init__(self, verb: str, folder: Path, tmp_path: Path, seed: int) -> None:
        self.notes = tmp_path / f"{verb}.notes"
        line = [sys.executable, writer.__file__, verb, str(folder), str(self.notes), str(seed)]
        self.process = subprocess.Popen(line, cwd="/")

    def wait_for(self, count: int) -> None:
        """Return when it has noted so much."""
        eventually(lambda: self.notes.exists() and self.notes.read_bytes().count(b"\n") >= count, pause_s=0.002)

    def noted(self) -> dict[str, tuple[int, str]]:
        """Return the size and digest last noted of each file."""
        whole = self.notes.read_text().rpartition("\n")[0]
        found = (line.split() for line in whole.splitlines())
        return {name: (int(size), digest) for name, size, digest in found}


@contextlib.contextmanager
def _writing(verb: str, folder: Path, tmp_path: Path, seed: int) -> Iterator[Writer]:
    """Have the writer at work inside; it has ended afterwards, of the daemon's death."""
    program = Writer(verb, folder, tmp_path, seed)
    try:
        yield program
        program.process.wait(60)
    finally:
        program.process.kill()
        program.process.wait(60)


def _missing(root: Path, noted: dict[str, tuple[int, str]]) -> list[str]:
    """Return the files that do not begin with what was noted of them."""
    wrong = []
    for name, (size, digest) in noted.items():
        file = root / name
        content = file.read_bytes()[:size] if file.exists() else b""
        if hashlib.blake2b(content).hexdigest() != digest:
            wrong.append(f"{name}: {len(content)} of {size} bytes")
    return wrong


def _finished(source: dict[bytes, Described], copy: dict[bytes, Described]) -> set[bytes]:
    """Return the files that cp is done with: it sets a file's time after its last write."""
    files = (name for name, one in copy.items() if one.content is not None)
    return {name for name in files if name in source and source[name].mtime_ns == copy[name].mtime_ns}


def _check_store(mount: Mounted) -> None:
    """Commit all, and see that a mount with another cache finds the same."""
    left = describe(mount.path)
    mount.umount()
    mount.remount(new_cache=True)
    assert differences(left, describe(mount.path)) == []


@pytest.mark.parametrize("attempt", range(3))
def test_killed_while_files_are_written(
    directory_place: Place, mounts: Mounts, tmp_path: Path, seed: int, attempt: int
) -> None:
    chance = random.Random(seed)
    source = tmp_path / "source"
    make_tree(source, seed, files=500, biggest=256 << 10)
    mount = mounts(directory_place)
    notes = chance.choice((chance.randint(1, 20), chance.randint(20, 400)))
    line = ["cp", "-a", source, mount.path / "copy"]
    with (
        _writing("close", mount.path, tmp_path, seed) as program,
        subprocess.Popen(line, stderr=subprocess.DEVNULL, cwd="/") as copying,
    ):
        program.wait_for(notes)
        mount.kill()
        copying.wait(60)
    noted = program.noted()
    assert notes <= len(noted) < writer.COUNT, "the daemon must die while files are written"

    mount.remount()
    assert mount.status()["recovered"]["unclean"]
    assert _missing(mount.path, noted) == []
    wanted, found = describe(source), describe(mount.path / "copy")
    for name in _finished(wanted, found):
        assert found[name].content == wanted[name].content, name
    _check_store(mount)
    assert _missing(mount.path, noted) == []


def test_killed_while_fsync_waits(place: Place, mounts: Mounts, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    mount = mounts(place)
    with _writing("fsync", mount.path, tmp_path, seed) as program:
        program.wait_for(chance.randint(1, 12))
        mount.kill()
    noted = program.noted()
    elsewhere = mounts(place, ro="yes")
    assert _missing(elsewhere.path, noted) == [], "fsync returned, so the store has it"
    mount.remount()
    assert _missing(mount.path, noted) == []
    _check_store(mount)


@pytest.mark.parametrize("attempt", range(2))
def test_killed_while_a_large_file_is_written(
    directory_place: Place, mounts: Mounts, tmp_path: Path, seed: int, attempt: int
) -> None:
    chance = random.Random(seed)
    mount = mounts(directory_place)
    with _writing("append", mount.path, tmp_path, seed) as program:
        program.wait_for(chance.randint(1, 400))
        mount.kill()
    noted = program.noted()
    mount.remount()
    assert _missing(mount.path, noted) == [], "every write that returned survives"
    _check_store(mount)
    assert _missing(mount.path, noted) == []


def test_killed_again_and_again(directory_place: Place, mounts: Mounts, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    mount = mounts(directory_place)
    kept: dict[str, tuple[int, str]] = {}
    for turn in range(4):
        turns = tmp_path / f"notes-{turn}"
        turns.mkdir()
        folder = mount.path / f"turn-{turn}"
        folder.mkdir()
        with _writing("close", folder, turns, seed + turn) as program:
            program.wait_for(chance.randint(1, 40))
            mount.kill()
        kept |= {f"{folder.name}/{name}": noted for name, noted in program.noted().items()}
        mount.remount()
        assert _missing(mount.path, kept) == []
    _check_store(mount)
    assert _missing(mount.path, kept) == []
