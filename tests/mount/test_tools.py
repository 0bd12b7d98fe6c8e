"""Tools of every day that ask more of a filesystem than reading and writing, on one mount with the bridge."""

import contextlib
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted
from storefs.testing.trees import describe, differences
from tests.mount.places import run, succeed

pytestmark = pytest.mark.mount

_KIB, _MIB = 1 << 10, 1 << 20
_PARTS = 12


def _needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def _drop_pages(path: Path) -> None:
    """Have the next reads of a file reach the daemon."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def _digest(path: Path) -> str:
    _drop_pages(path)
    return hashlib.blake2b(path.read_bytes()).hexdigest()


# --- building and installing ------------------------------------------------------------------------------------------

_MAKEFILE = """
objects := $(patsubst %.c,%.o,$(wildcard *.c))
program: $(objects)
\t$(CC) -o $@ $^
%.o: %.c parts.h
\t$(CC) -O0 -c -o $@ $<
clean:
\trm -f program *.o
"""


@_needs("make", "cc")
def test_make_builds_what_is_out_of_date(folder: Path) -> None:
    (folder / "Makefile").write_text(_MAKEFILE)
    (folder / "parts.h").write_text("".join(f"int part{number}(void);\n" for number in range(_PARTS)))
    for number in range(_PARTS):
        (folder / f"part{number}.c").write_text(f'#include "parts.h"\nint part{number}(void) {{ return {number}; }}\n')
    total = " + ".join(f"part{number}()" for number in range(_PARTS))
    (folder / "main.c").write_text(
        f'#include <stdio.h>\n#include "parts.h"\nint main(void) {{ printf("%d\\n", {total}); return 0; }}\n'
    )
    built = succeed("make", "-j4", cwd=folder)
    assert built.count(" -c ") == _PARTS + 1
    assert succeed(folder / "program") == f"{sum(range(_PARTS))}\n"
    assert "up to date" in succeed("make", "-j4", "program", cwd=folder)
    (folder / "part3.c").write_text('#include "parts.h"\nint part3(void) { return 1003; }\n')
    assert succeed("make", "-j4", cwd=folder).count(" -c ") == 1, "by the times of the files"
    assert succeed(folder / "program") == f"{sum(range(_PARTS)) + 1000}\n"
    (folder / "parts.h").touch()
    assert succeed("make", "-j4", cwd=folder).count(" -c ") == _PARTS + 1
    succeed("make", "clean", cwd=folder)
    assert not list(folder.glob("*.o"))


def _make_wheel(folder: Path) -> Path:
    """Write a pure Python package as pip installs it."""
    about = "sample-1.0.dist-info"
    files = {
        "sample/__init__.py": "def answer():\n    return 42\n",
        "sample/data.txt": "x" * 100_000,
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nsample = sample:answer\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    path = folder / "sample-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


@pytest.mark.timeout(240)
def test_a_virtual_environment_and_pip(folder: Path) -> None:
    wheel = _make_wheel(folder)
    succeed(sys.executable, "-m", "venv", folder / "env")
    python = folder / "env" / "bin" / "python"
    install = (python, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--no-index", "--no-deps")
    succeed(*install, wheel)
    shown = succeed(python, "-c", "import sample, sys; print(sample.answer(), sample.__file__.startswith(sys.prefix))")
    assert shown == "42 True\n"
    assert run(folder / "env" / "bin" / "sample").returncode == 42
    succeed(*install, "--force-reinstall", wheel)
    succeed(python, "-m", "pip", "--isolated", "uninstall", "-q", "-y", "sample")
    assert run(python, "-c", "import sample").returncode == 1
    assert not list((folder / "env").rglob("sample*"))


# --- editors ----------------------------------------------------------------------------------------------------------


def test_saving_as_editors_do(folder: Path) -> None:
    file, backup, new = folder / "text", folder / "text~", folder / ".text.new"
    file.write_text("version 0\n")
    file.chmod(0o640)
    watching = file.open()
    for number in range(1, 6):
        before = file.stat()
        shutil.copy2(file, backup)
        with new.open("w") as out:
            out.write(f"version {number}\n" * number)
            out.flush()
            os.fchmod(out.fileno(), before.st_mode & 0o7777)
            os.fsync(out.fileno())
        new.rename(file)
        fd = os.open(folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        assert file.stat().st_ino != before.st_ino
        assert file.stat().st_mode == before.st_mode
        assert file.read_text() == f"version {number}\n" * number
        assert backup.read_text() == (f"version {number - 1}\n" * max(1, number - 1))
    assert watching.read() == "version 0\n", "who opened it before sees what it was"
    watching.close()
    assert sorted(os.listdir(folder)) == ["text", "text~"]


@_needs("vim")
@pytest.mark.parametrize("settings", ["backup backupcopy=yes", "backup backupcopy=no", "nobackup writebackup"])
def test_vim(folder: Path, settings: str) -> None:
    file = folder / "text"
    file.write_text("first\nsecond\nthird\n")
    file.chmod(0o750)
    line = (
        "vim",
        "-es",
        "-N",
        "-u",
        "NONE",
        "-c",
        f"set backupskip= {settings}",
        "-c",
        "%s/second/2nd/",
        "-c",
        "wq",
        file,
    )
    succeed(*line, cwd=folder)
    assert file.read_text() == "first\n2nd\nthird\n"
    assert file.stat().st_mode & 0o777 == 0o750
    left = {"text", "text~"} if settings.startswith("backup") else {"text"}
    assert set(os.listdir(folder)) == left
    if "text~" in left:
        assert (folder / "text~").read_text() == "first\nsecond\nthird\n"


# --- copies -----------------------------------------------------------------------------------------------------------


@_needs("rsync")
def test_rsync_in_place(folder: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    source, target = tmp_path / "source", folder / "target"
    content = bytearray(chance.randbytes(3 * _MIB))
    source.write_bytes(content)
    line = ("rsync", "-a", "--inplace", "--no-whole-file", "--stats", source, target)
    succeed(*line)
    ino = target.stat().st_ino
    for turn in range(3):
        at = chance.randrange(len(content) - 5000)
        content[at : at + 5000] = chance.randbytes(5000)
        if turn == 1:
            del content[2 * _MIB :]
        source.write_bytes(content)
        os.utime(source, (turn, turn))
        said = succeed(*line)
        assert target.stat().st_ino == ino, "the same file was changed"
        assert _digest(target) == hashlib.blake2b(content).hexdigest(), said
    assert "Number of regular files transferred: 0" in succeed(*line)


@pytest.mark.parametrize("flags", [(), ("oflag=append",), ("conv=notrunc,fsync",), ("conv=notrunc,sparse",)], ids=str)
def test_dd_with_odd_blocks(folder: Path, tmp_path: Path, seed: int, flags: tuple[str, ...]) -> None:
    chance = random.Random(seed)
    source = tmp_path / "source"
    source.write_bytes(chance.randbytes(150_000) + bytes(100_000) + chance.randbytes(50_001))
    here, there = folder / "file", tmp_path / "file"
    for file in (here, there):
        file.write_bytes(b"before" * 10_000)
    for size, skip, seek, count in ((977, 3, 7, 100), (4097, 1, 0, 60), (1, 149_990, 20_001, 30), (65_537, 0, 2, 4)):
        for file in (here, there):
            amounts = (f"bs={size}", f"skip={skip}", f"seek={seek}", f"count={count}")
            succeed("dd", f"if={source}", f"of={file}", *amounts, "status=none", *flags)
        assert _digest(here) == _digest(there), (size, skip, seek)
    succeed("dd", f"if={here}", f"of={tmp_path / 'back'}", "bs=12345", "iflag=skip_bytes", "skip=777", "status=none")
    assert (tmp_path / "back").read_bytes() == there.read_bytes()[777:]


def _make_sparse(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with path.open("wb") as file:
        for start in (0, 300 * _KIB, 5 * _MIB, 20 * _MIB - 7):
            file.seek(start)
            file.write(chance.randbytes(10_000))
        file.truncate(32 * _MIB)


def test_copies_keep_holes(folder: Path, tmp_path: Path, seed: int) -> None:
    local, first = tmp_path / "local", folder / "first"
    _make_sparse(local, seed)
    wanted = _digest(local)
    succeed("cp", "--reflink=auto", "--sparse=always", local, first)
    succeed("cp", "--reflink=auto", "--sparse=always", first, folder / "second")
    succeed("cp", "--reflink=auto", "--sparse=auto", first, folder / "third")
    succeed("cp", "--reflink=auto", "--sparse=never", first, folder / "fourth")
    succeed("cp", "--sparse=always", folder / "fourth", tmp_path / "back")
    for file in (first, folder / "second", folder / "third", folder / "fourth", tmp_path / "back"):
        assert _digest(file) == wanted, file
    for name in ("first", "second"):
        assert (folder / name).stat().st_blocks * 512 < _MIB, name


def test_tar_with_holes_and_hard_links(folder: Path, tmp_path: Path, seed: int) -> None:
    tree = folder / "tree"
    tree.mkdir()
    _make_sparse(tree / "sparse", seed)
    (tree / "all-hole").touch()
    os.truncate(tree / "all-hole", 7 * _MIB)
    (tree / "one").write_bytes(b"content")
    for name in ("two", "three"):
        (tree / name).hardlink_to(tree / "one")
    (tree / "link").symlink_to("one")
    archive = folder / "tree.tar"
    succeed("tar", "--sparse", "-cf", archive, "--format=posix", "-C", tree, ".")
    assert archive.stat().st_size < _MIB, "holes take no room"
    for target in (folder / "here", tmp_path / "there"):
        target.mkdir()
        succeed("tar", "--sparse", "-xpf", archive, "-C", target)
        assert differences(describe(tree), describe(target)) == []
        assert (target / "two").stat().st_nlink == 3
        assert (target / "sparse").stat().st_blocks * 512 < _MIB
    assert "tree" not in succeed("tar", "--compare", "-f", archive, "-C", tree)


# --- databases and repositories ---------------------------------------------------------------------------------------

_WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=100, isolation_level=None)
assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
db.execute("PRAGMA synchronous = OFF")
for number in range(int(sys.argv[3])):
    db.execute("BEGIN IMMEDIATE")
    (last,) = db.execute("SELECT coalesce(max(number), 0) FROM entry").fetchone()
    db.execute("INSERT INTO entry VALUES (?, ?, randomblob(2000))", (last + 1, sys.argv[2]))
    db.execute("COMMIT")
"""


def test_sqlite_with_a_log_from_two_processes(folder: Path) -> None:
    file, turns = folder / "entries.db", 150
    with contextlib.closing(sqlite3.connect(file, timeout=100, isolation_level=None)) as db:
        assert db.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        db.execute("CREATE TABLE entry (number INTEGER PRIMARY KEY, writer TEXT, filler BLOB)")
        line = [sys.executable, "-c", _WRITER, str(file)]
        writers = [subprocess.Popen([*line, who, str(turns)]) for who in "ab"]
        while any(writer.poll() is None for writer in writers):
            # A reader among them sees whole transactions only.
            count, highest = db.execute("SELECT count(*), coalesce(max(number), 0) FROM entry").fetchone()
            assert count == highest
        assert [writer.wait(60) for writer in writers] == [0, 0]
        assert db.execute("SELECT writer, count(*) FROM entry GROUP BY writer").fetchall() == [
            ("a", turns),
            ("b", turns),
        ]
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert os.listdir(folder) == ["entries.db"], "the last one to close takes log and shared memory away"


@_needs("git")
def test_git_shares_objects_and_working_trees(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{kind}_NAME", "a")
        monkeypatch.setenv(f"GIT_{kind}_EMAIL", "a@example.org")
    for kind in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{kind}", os.devnull)
    first, second = folder / "first", folder / "second"
    succeed("git", "init", "-q", "-b", "main", first)
    for number in range(5):
        (first / f"{number}.txt").write_text(f"{number}\n" * 1000)
        succeed("git", "add", "-A", cwd=first)
        succeed("git", "commit", "-q", "-m", f"{number}", cwd=first)
    succeed("git", "clone", "-q", "--local", first, second)  # hard links
    succeed("git", "worktree", "add", "-q", "-b", "side", folder / "side", cwd=second)
    (folder / "side" / "0.txt").write_text("changed\n")
    succeed("git", "commit", "-q", "-a", "-m", "aside", cwd=folder / "side")
    (second / "1.txt").write_text("changed too\n")
    succeed("git", "stash", "-q", cwd=second)
    succeed("git", "merge", "-q", "side", cwd=second)
    succeed("git", "stash", "pop", "-q", cwd=second)
    assert succeed("git", "status", "--porcelain", cwd=second) == " M 1.txt\n"
    succeed("git", "-c", "core.fsync=all", "gc", "-q", "--prune=now", "--aggressive", cwd=second)
    for repository in (first, second, folder / "side"):
        succeed("git", "fsck", "--full", "--strict", cwd=repository)


def test_all_that_the_others_left_is_in_the_store(shared: Mounted) -> None:
    wanted = describe(shared.path)
    shared.umount()
    shared.remount(new_cache=True)
    assert differences(wanted, describe(shared.path)) == []
