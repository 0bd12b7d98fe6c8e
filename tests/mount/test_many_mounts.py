"""Three mounts of one store, all at work at once: they agree in the end, and what they wrote is there.

STOREFS_SOAK=1 has the crowd do 10,000 operations with each of 5 seeds. A failure names its seed; STOREFS_SEED replays a
run as far as three programs can be made to do the same at the same time.
"""

import contextlib
import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storefs.testing import crowd
from storefs.testing.mounted import Mounted, run_storefs
from storefs.testing.s3server import S3Server
from storefs.testing.trees import describe, differences
from tests.mount.places import Mounts, Place, eventually

_SOAK = os.environ.get("STOREFS_SOAK") == "1"
_MOUNTS = 3
_OPERATIONS = 10_000 if _SOAK else 3_000
_KILLED_OPERATIONS = 10_000 if _SOAK else 2_000
_SEEDS = 5 if _SOAK else 1
_STOPS = (0, 1)
"""At which of the kills the server is away."""

_LIMIT_S = 900 if _SOAK else 200

_HEARD_S = 5.0
"""How long a kernel may take to hear what its daemon knows already."""

pytestmark = [pytest.mark.mount, pytest.mark.s3, pytest.mark.timeout(_LIMIT_S)]


class Crowd:
    """Members at work, one on each mount, and what they logged."""

    def __init__(self, mounts: list[Mounted], logs: Path, seed: int, operations: int, *flags: str) -> None:
        self._logs = [logs / f"member-{number}.log" for number in range(len(mounts))]
        self._seed = seed
        self._words = [log.with_suffix(".err") for log in self._logs]
        self._processes = []
        for number, (mount, log, words) in enumerate(zip(mounts, self._logs, self._words, strict=True)):
            line = [sys.executable, "-m", "storefs.testing.crowd", str(mount.path / "crowd"), str(log)]
            line += ["--member", str(number), "--seed", str(seed), "--operations", str(operations // len(mounts))]
            with words.open("wb") as errors:
                self._processes.append(subprocess.Popen([*line, *flags], stderr=errors, cwd="/"))

    def is_at_work(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def finish(self) -> list[crowd.Operation]:
        """Return what they did when all are done; fail with the words of those that could not go on."""
        ends = [process.wait(_LIMIT_S) for process in self._processes]
        assert ends == [0] * len(ends), "\n".join(words.read_text() for words in self._words)
        return [one for number, log in enumerate(self._logs) for one in crowd.read_log(log, number)]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def check(self, root: Path, operations: list[crowd.Operation]) -> None:
        """See that every file has what was written, and that nothing is lost that must be there."""
        files = crowd.contents(root)
        guarded = crowd.guarded(operations)
        print(f"seed {self._seed}: {len(operations)} operations, {len(files)} files, {len(guarded)} writes are guarded")
        assert len(guarded) > len(operations) // 100, "nearly nothing is looked for"
        assert crowd.damaged(operations, self._seed, files) == []
        lost = crowd.missing(operations, self._seed, files)
        assert lost == [], "\n".join(line for one in lost for line in _history(one, operations))


def _history(lost: crowd.Operation, operations: list[crowd.Operation]) -> Iterator[str]:
    """Tell all that was done to a file that was lost, in its order, times from when the lost write began."""
    yield f"lost: {lost}"
    for one in sorted(operations, key=lambda one: one.begin_s):
        if one.ino == lost.ino or lost.at in (one.at, one.to):
            yield f"{one.begin_s - lost.begin_s:+.3f} to {one.end_s - lost.begin_s:+.3f} s: {one}"


@contextlib.contextmanager
def _crowd(mounts: list[Mounted], logs: Path, seed: int, operations: int, *flags: str) -> Iterator[Crowd]:
    (mounts[0].path / "crowd").mkdir()
    for mount in mounts:
        mount.sync()
    at_work = Crowd(mounts, logs, seed, operations, *flags)
    try:
        yield at_work
    finally:
        at_work.end()


def _sync(mount: Mounted) -> None:
    """Do what ``storefs sync`` does, without starting a program."""
    (mount.path / ".storefs" / "sync").write_bytes(b"1")


def _still(mounts: list[Mounted]) -> None:
    """Sync all of them until none has anything new for the others."""
    for mount in mounts:
        mount.sync()
    before: list[int] = []
    for _ in range(20):
        for mount in mounts:
            _sync(mount)
        shown = [mount.status() for mount in mounts]
        seqs = [status["commit"]["seq"] for status in shown]
        if seqs == before and len(set(seqs)) == 1 and not any(status["pending"]["changes"] for status in shown):
            assert [status["trouble"] for status in shown] == [None] * len(shown)
            assert [status["errors"] for status in shown] == [0] * len(shown)
            return
        before = seqs
    pytest.fail(f"there is always something new: commits {before}")


def _check_agreement(mounts: list[Mounted]) -> None:
    """See that all show the same tree: with what their kernels have cached, and with nothing cached at all."""
    for mount in mounts:
        _warm(mount)
    trees = [describe(mount.path) for mount in mounts]
    until_s = time.monotonic() + _HEARD_S
    while any(differences(trees[0], tree) for tree in trees[1:]) and time.monotonic() < until_s:
        trees = [describe(mount.path) for mount in mounts]
    for tree in trees[1:]:
        assert differences(trees[0], tree) == []
    for mount in mounts if _SOAK else mounts[:1]:
        mount.umount()
        mount.remount(new_cache=True)
        _warm(mount)
        assert differences(trees[0], describe(mount.path)) == []


def _check_store(mount: Mounted) -> None:
    """Have all that is in the store checked, byte by byte."""
    done = run_storefs("fsck", "--data", mount.path, limit_s=_LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr


def _warm(mount: Mounted) -> None:
    """Bring all files to the disk: what is in thousands of small shards is fetched faster so than one by one."""
    done = run_storefs("warm", mount.path, limit_s=_LIMIT_S)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("attempt", range(_SEEDS))
def test_a_crowd_on_three_mounts(s3_place: Place, mounts: Mounts, tmp_path: Path, seed: int, attempt: int) -> None:
    three = [mounts(s3_place) for _ in range(_MOUNTS)]
    with _crowd(three, tmp_path, seed, _OPERATIONS) as at_work:
        operations = at_work.finish()
        _still(three)
        _check_agreement(three)
        at_work.check(three[0].path, operations)
        _check_store(three[0])


@pytest.mark.parametrize("attempt", range(_SEEDS))
def test_a_crowd_whose_daemons_and_server_die(
    s3_place: Place, mounts: Mounts, server: S3Server, tmp_path: Path, seed: int, attempt: int
) -> None:
    chance = random.Random(seed)
    three = [mounts(s3_place) for _ in range(_MOUNTS)]
    turns = 0
    with _crowd(three, tmp_path, seed, _KILLED_OPERATIONS, "--patient") as at_work:
        while at_work.is_at_work():
            time.sleep(chance.uniform(0.3, 1.5))
            victim = chance.choice(three)
            if turns in _STOPS:
                server.stop()
                time.sleep(chance.uniform(0.2, 1.5))
            victim.kill()
            if turns in _STOPS:
                server.start()
            victim.remount()
            turns += 1
        operations = at_work.finish()
        print(f"{turns} times a daemon was killed")
        assert turns > max(_STOPS), "too few operations for a server that stops twice"
        _still(three)
        _check_agreement(three)
        at_work.check(three[0].path, operations)
        _check_store(three[0])


# --- coherence --------------------------------------------------------------------------------------------------------

Shown = tuple[bytes | None, int | None, bool]
"""What a mount shows of a file: its bytes, its size, and whether it is listed."""

_GONE: Shown = (None, None, False)


def _fill(path: Path, data: bytes) -> None:
    """Write a file's content, and have it in the store when this returns."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _replace(path: Path, data: bytes) -> None:
    path.with_name("new").write_bytes(data)
    path.with_name("new").rename(path)
    _sync_directory(path.parent)


def _remove(path: Path, data: bytes) -> None:
    path.unlink()
    _sync_directory(path.parent)


def _shown(path: Path) -> Shown:
    listed = path.name in os.listdir(path.parent)
    size = _size(path)
    return (path.read_bytes(), size, listed) if size is not None else (None, None, listed)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _requests(mount: Mounted) -> int:
    counts = mount.status()["requests"]["store_requests"]
    return int(sum(sum(outcomes.values()) for outcomes in counts.values()))


_CHANGES: list[tuple[str, Callable[[Path, bytes], None], int]] = [
    ("made", _fill, 5_000),
    ("grown", _fill, 90_000),
    ("shrunk", _fill, 70),
    ("replaced by rename", _replace, 4_000),
    ("removed", _remove, 0),
    ("made again", _fill, 300),
]
"""What happens to one file, one after the other; the sizes in bytes."""

_ONE_COMMIT = {"commit_interval": "10m"}
"""So that fsync commits a change as a whole, with no commit halfway."""

_REQUESTS_MAX = 3
"""The commit, that no other follows it, and the bytes of the file."""


def _change_and_look(one: Mounted, two: Mounted, chance: random.Random, see: Callable[[int | None], None]) -> None:
    """Change a file on one mount; see what the other shows after ``see``, which gets the size that it will have."""
    before = _GONE
    for what, change, size in _CHANGES:
        data = chance.randbytes(size)
        now = _GONE if change is _remove else (data, size, True)
        assert _shown(two.path / "file") == before, "this is what the kernel has cached"
        change(one.path / "file", data)
        began_s, began = time.monotonic(), _requests(two)
        see(now[1])
        assert _shown(two.path / "file") == now, what
        took_s, requests = time.monotonic() - began_s, _requests(two) - began
        print(f"{what}: seen {took_s:.2f} s after fsync, with {requests} requests")
        assert requests <= _REQUESTS_MAX
        before = now


def test_what_was_synced_here_is_seen_there_soon(s3_place: Place, mounts: Mounts, seed: int) -> None:
    poll_s = 1.0
    one = mounts(s3_place, **_ONE_COMMIT)
    two = mounts(s3_place, poll_interval=f"{poll_s:g}s")

    def wait(size: int | None) -> None:
        eventually(lambda: _size(two.path / "file") == size, pause_s=0.01, limit_s=2 * poll_s)

    _change_and_look(one, two, random.Random(seed), wait)


def test_what_was_synced_here_is_seen_there_after_sync(s3_place: Place, mounts: Mounts, seed: int) -> None:
    one, two = mounts(s3_place, **_ONE_COMMIT), mounts(s3_place, poll_interval="10m")
    _change_and_look(one, two, random.Random(seed), lambda _: _sync(two))


def test_a_file_of_the_same_size_is_seen_to_be_another(s3_place: Place, mounts: Mounts, seed: int) -> None:
    chance = random.Random(seed)
    one, two = mounts(s3_place), mounts(s3_place, poll_interval="10m")
    for _ in range(5):
        data = chance.randbytes(9_000)
        _fill(one.path / "file", data)
        _sync(two)
        assert (two.path / "file").read_bytes() == data


# --- fairness ---------------------------------------------------------------------------------------------------------


def test_mounts_that_fsync_all_the_time_both_get_on(s3_place: Place, mounts: Mounts) -> None:
    two = [mounts(s3_place) for _ in range(2)]
    commits = [0, 0]
    until_s = time.monotonic() + 10

    def work(number: int) -> None:
        with (two[number].path / f"file-{number}").open("wb", buffering=0) as file:
            for turn in itertools.count():
                if time.monotonic() > until_s:
                    return
                file.write(b"%d" % turn)
                os.fsync(file.fileno())
                commits[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slow, fast = sorted(commits)
    print(f"{slow} and {fast} commits in 10 s: one to {fast / max(1, slow):.1f}")
    assert slow * 10 >= fast
