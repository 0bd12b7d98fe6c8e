"""Programs that people run every day, on one mount that lives as long as this module."""

import compileall
import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from storefs.testing.mounted import Mounted
from storefs.testing.trees import describe, differences, make_tree
from tests.mount.places import succeed

pytestmark = pytest.mark.mount

_MIB = 1 << 20
_GIB = 1 << 30
_GIT_AS = {
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "c",
    "GIT_COMMITTER_EMAIL": "c@example.org", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path, seed: int) -> Path:
    """A small generated tree on the local disk."""
    root = tmp_path / "tree"
    make_tree(root, seed, files=300, biggest=_MIB)
    return root


def test_git(folder: Path, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _GIT_AS.items():
        monkeypatch.setenv(name, value)
    origin = tmp_path / "origin"
    succeed("git", "init", "-q", "-b", "main", origin)
    for number in range(5):
        make_tree(origin / f"part-{number}", seed + number, files=40, biggest=20_000)
        succeed("git", "add", "-A", cwd=origin)
        succeed("git", "commit", "-q", "-m", f"part {number}", cwd=origin)
    clone = folder / "clone"
    succeed("git", "clone", "-q", "--no-local", origin, clone)
    assert succeed("git", "status", "--porcelain", cwd=clone) == ""
    succeed("git", "fsck", "--full", "--strict", cwd=clone)
    (clone / "new").write_text("new\n")
    succeed("git", "add", "-A", cwd=clone)
    succeed("git", "commit", "-q", "-m", "on the mount", cwd=clone)
    succeed("git", "gc", "-q", "--prune=now", cwd=clone)
    succeed("git", "fsck", "--full", "--strict", cwd=clone)
    assert succeed("git", "rev-list", "--count", "HEAD", cwd=clone).strip() == "6"
    assert succeed("git", "status", "--porcelain", cwd=clone) == ""


def test_tar(folder: Path, tmp_path: Path, tree: Path) -> None:
    archive = tmp_path / "tree.tar"
    succeed("tar", "-cf", archive, "--xattrs", "-C", tree, ".")
    (folder / "out").mkdir()
    succeed("tar", "-xpf", archive, "--xattrs", "--same-owner", "-C", folder / "out")
    # tar keeps times to the second only, in this format, and pays no attention to names that share an inode's mtime.
    wanted = {name: one._replace(mtime_ns=0) for name, one in describe(tree).items()}
    found = {name: one._replace(mtime_ns=0) for name, one in describe(folder / "out").items()}
    assert differences(wanted, found) == []
    with tarfile.open(folder / "again.tar", "w") as again:
        again.add(folder / "out", arcname=".")
    with tarfile.open(folder / "again.tar") as again:
        assert len(again.getnames()) == len(found)


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_rsync_twice(folder: Path, tree: Path) -> None:
    line = ("rsync", "-aHX", f"{tree}/", f"{folder}/copy/")
    assert _stat("Number of regular files transferred", succeed(*line, "--stats")) > 0
    second = succeed(*line, "--stats")
    assert _stat("Number of regular files transferred", second) == 0
    assert _stat("Number of created files", second) == 0
    assert differences(describe(tree), describe(folder / "copy")) == []
    assert succeed(*line, "--checksum", "--itemize-changes", "--dry-run") == ""


def _stat(what: str, text: str) -> int:
    match = re.search(rf"^{what}: ([\d,]+)", text, re.MULTILINE)
    assert match is not None, text
    return int(match[1].replace(",", ""))


_READER = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=60) as db:
    for line in sys.stdin:
        total, = db.execute("SELECT sum(amount) FROM account").fetchone()
        assert total == 1000, total
print("consistent")
"""


def test_sqlite_with_a_concurrent_reader(folder: Path) -> None:
    file = folder / "bank.db"
    with contextlib.closing(sqlite3.connect(file, timeout=60, isolation_level=None)) as db:
        assert db.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        db.execute("PRAGMA synchronous = OFF")  # else each transaction is a commit to the store, three times
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER, filler BLOB)")
        db.executemany("INSERT INTO account VALUES (?, 10, randomblob(3000))", [(number,) for number in range(100)])
        with subprocess.Popen(
            [sys.executable, "-c", _READER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdin is not None
            for number in range(100):
                reader.stdin.write("look\n")
                reader.stdin.flush()
                db.execute("BEGIN IMMEDIATE")
                db.execute("UPDATE account SET amount = amount - 3 WHERE id = ?", (number,))
                db.execute("UPDATE account SET amount = amount + 3 WHERE id = ?", ((number * 7 + 1) % 100,))
                db.execute("COMMIT")
            said, _ = reader.communicate(timeout=60)
        assert said == "consistent\n"
        db.execute("PRAGMA synchronous = FULL")
        db.execute("UPDATE account SET amount = amount + 0")
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert succeed("find", folder, "-name", "*-journal") == ""


def test_compileall(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", None)  # beside its source is where bytecode belongs
    shutil.copytree(Path(contextlib.__file__).parent / "email", folder / "email", ignore=lambda *_: ["__pycache__"])
    assert compileall.compile_dir(folder, quiet=2, workers=2)
    assert len(list(folder.rglob("*.pyc"))) == len(list(folder.rglob("*.py"))) > 10
    assert compileall.compile_dir(folder, quiet=2, force=True, workers=1)  # replaces each by a rename


def test_memory_map(folder: Path, seed: int) -> None:
    file = folder / "array.npy"
    wanted = np.random.default_rng(seed).integers(0, 255, (64, 100_000), dtype=np.uint8)
    mapped = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=wanted.shape)
    mapped[:] = wanted
    mapped.flush()
    wanted[::7, 5::1000] += 1
    mapped[::7, 5::1000] += 1
    mapped.flush()
    del mapped
    assert np.array_equal(np.load(file), wanted)
    assert np.array_equal(np.load(file, mmap_mode="r")[13], wanted[13])
    again = np.load(file, mmap_mode="r+")
    again[63, -1] ^= 255
    again.flush()
    del again
    assert np.load(file)[63, -1] == wanted[63, -1] ^ 255


@pytest.mark.timeout(240)
def test_two_gibibytes(folder: Path, shared: Mounted, seed: int) -> None:
    file = folder / "large.bin"
    written = hashlib.blake2b()
    with file.open("wb", buffering=0) as out:
        for block in _blocks(seed, 2 * _GIB):
            written.update(block)
            assert out.write(block) == len(block)
    shared.sync()
    read = hashlib.blake2b()
    with file.open("rb", buffering=0) as back:
        os.posix_fadvise(back.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := back.read(8 * _MIB):
            read.update(block)
    assert file.stat().st_size == 2 * _GIB
    assert read.hexdigest() == written.hexdigest()
    file.unlink()


def _blocks(seed: int, size: int) -> Iterator[bytes]:
    """Return incompressible bytes, never more than a block of them in memory."""
    chance = np.random.default_rng(seed)
    for _ in range(size // (8 * _MIB)):
        yield chance.bytes(8 * _MIB)


def test_du_df_and_find(folder: Path, tree: Path, shared: Mounted) -> None:
    succeed("cp", "-a", f"{tree}/.", folder / "copy")
    assert _apparent(folder / "copy") == _apparent(tree)
    for kind in "fdlp":
        there = [len(succeed("find", root, "-type", kind, "-printf", "x")) for root in (tree, folder / "copy")]
        assert there[0] == there[1], kind
    line = succeed("df", "--output=fstype,target", folder).splitlines()[-1].split()
    assert line == ["fuse.storefs", str(shared.path)]


def _apparent(root: Path) -> int:
    """Return what du counts, but for directories, whose sizes the filesystem decides."""
    return sum(int(size) for size in succeed("find", root, "!", "-type", "d", "-printf", "%s\n").split())


def test_all_that_the_others_left_is_in_the_store(shared: Mounted) -> None:
    wanted = describe(shared.path)
    shared.umount()
    shared.remount(new_cache=True)
    assert differences(wanted, describe(shared.path)) == []
