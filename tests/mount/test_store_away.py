"""The store goes away while files are written: nothing hangs, nothing is lost, and it all arrives when it is back."""

import errno
import os
import random
import time
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted, run_storefs
from storefs.testing.s3server import S3Server
from storefs.testing.trees import describe, differences
from tests.mount.places import Mounts, Place, eventually, refused

pytestmark = [pytest.mark.mount, pytest.mark.s3, pytest.mark.timeout(240)]

_MIB = 1 << 20
_AWAY = {"dirty_limit": "8M", "store_deadline": "3s"}
_AT_MOST_S = 60.0
"""Many times the deadline: what takes longer waits for ever."""


def _write_until_refused(folder: Path, chance: random.Random) -> tuple[int, OSError]:
    """Write file after file until the mount takes no more; return how many it took, and why it stopped."""
    for number in range(100):
        try:
            (folder / f"away-{number}").write_bytes(chance.randbytes(_MIB))
        except OSError as error:
            return number, error
    pytest.fail("the limit of what may wait for the store was never felt")


def _is_idle(mount: Mounted) -> bool:
    status = mount.status()
    return not status["pending"]["changes"] and not status["pending"]["files"] and status["trouble"] is None


def _check_elsewhere(mount: Mounted) -> None:
    left = describe(mount.path)
    mount.umount()
    mount.remount(new_cache=True)
    assert differences(left, describe(mount.path)) == []


def test_the_store_goes_away_and_comes_back(s3_place: Place, mounts: Mounts, server: S3Server, seed: int) -> None:
    chance = random.Random(seed)
    mount = mounts(s3_place, **_AWAY)
    cached = chance.randbytes(3 * _MIB)
    (mount.path / "cached").write_bytes(cached)
    mount.sync()
    server.stop()

    taken, reason = _write_until_refused(mount.path, chance)
    assert taken >= 4, "half of the limit must be taken without a store"
    assert reason.errno in (errno.EIO, errno.ENOSPC)
    began_s = time.monotonic()
    with (mount.path / "away-0").open("rb") as opened, refused(errno.EIO):
        os.fsync(opened.fileno())
    assert time.monotonic() - began_s < _AT_MOST_S
    with (mount.path / "cached").open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert opened.read() == cached
    (mount.path / "directory").mkdir()
    (mount.path / "cached").rename(mount.path / "directory" / "renamed")

    synced = run_storefs("sync", mount.path)
    assert synced.returncode == 5
    assert "not in the store" in synced.stderr
    ended = mount.try_umount()
    assert ended.returncode == 5
    assert "stays mounted" in ended.stderr
    assert mount.status()["trouble"]
    assert (mount.path / "directory" / "renamed").read_bytes() == cached

    server.start()
    eventually(lambda: _is_idle(mount))
    (mount.path / "after").write_bytes(b"writes are taken again")
    _check_elsewhere(mount)


def test_forced_umount_leaves_it_to_the_next_mount(
    s3_place: Place, mounts: Mounts, server: S3Server, seed: int
) -> None:
    chance = random.Random(seed)
    mount = mounts(s3_place, **_AWAY)
    server.stop()
    content = chance.randbytes(2 * _MIB)
    (mount.path / "kept").write_bytes(content)
    ended = mount.try_umount("--force")
    assert ended.returncode == 0, ended.stderr
    assert "kept in the cache directory" in ended.stderr
    assert mount.wait() == 5
    assert os.listdir(mount.path) == []
    server.start()
    mount.remount()
    assert (mount.path / "kept").read_bytes() == content
    eventually(lambda: _is_idle(mount))
    _check_elsewhere(mount)


def test_terminated_while_the_store_is_away(s3_place: Place, mounts: Mounts, server: S3Server, seed: int) -> None:
    content = random.Random(seed).randbytes(2 * _MIB)
    mount = mounts(s3_place, **_AWAY)
    server.stop()
    (mount.path / "kept").write_bytes(content)
    began_s = time.monotonic()
    assert mount.terminate() == 5
    assert time.monotonic() - began_s < _AT_MOST_S
    server.start()
    mount.remount()
    assert (mount.path / "kept").read_bytes() == content
    _check_elsewhere(mount)


def test_reads_that_need_the_store_fail_in_time(s3_place: Place, mounts: Mounts, server: S3Server, seed: int) -> None:
    content = random.Random(seed).randbytes(2 * _MIB)
    mount = mounts(s3_place, **_AWAY)
    (mount.path / "file").write_bytes(content)
    mount.umount()
    mount.remount(new_cache=True)
    server.stop()
    assert os.listdir(mount.path) == ["file"]
    assert (mount.path / "file").stat().st_size == len(content)
    began_s = time.monotonic()
    with refused(errno.EIO):
        (mount.path / "file").read_bytes()
    assert time.monotonic() - began_s < _AT_MOST_S
    server.start()
    assert (mount.path / "file").read_bytes() == content
