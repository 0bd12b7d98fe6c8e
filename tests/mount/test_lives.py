"""How mounts begin and end, and how two of one store get along on one machine."""

import errno
import os
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted, run_storefs
from storefs.testing.trees import describe, differences
from tests.mount.places import Mounts, Place, eventually, refused, succeed

pytestmark = pytest.mark.mount


def test_sigterm_commits_and_unmounts(place: Place, mounts: Mounts) -> None:
    mount = mounts(place, commit_interval="1h")
    (mount.path / "file").write_bytes(b"content")
    assert mount.terminate() == 0
    assert os.listdir(mount.path) == []
    mount.remount(new_cache=True)
    assert (mount.path / "file").read_bytes() == b"content"


def test_sigterm_while_a_file_is_open(directory_place: Place, mounts: Mounts) -> None:
    mount = mounts(directory_place, commit_interval="1h")
    opened = os.open(mount.path / "file", os.O_WRONLY | os.O_CREAT)
    os.write(opened, b"before the end")
    assert mount.terminate() == 0
    with refused(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
        os.write(opened, b" and after")
    with refused(errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
        os.close(opened)
    mount.remount(new_cache=True)
    assert (mount.path / "file").read_bytes() == b"before the end"


def test_plain_umount_commits_and_the_next_mount_waits(directory_place: Place, mounts: Mounts) -> None:
    mount = mounts(directory_place, commit_interval="1h")
    for number in range(50):
        (mount.path / f"{number}").write_bytes(b"c" * 100_000)
    wanted = describe(mount.path)
    succeed("umount", mount.path)
    next_one = mounts(directory_place, cache_dir=str(mount.cache))
    assert differences(wanted, describe(next_one.path)) == []
    assert next_one.status()["recovered"]["unclean"] is False
    assert mount.wait() == 0


def test_umount_of_a_busy_mount_says_so(directory_place: Place, mounts: Mounts) -> None:
    mount = mounts(directory_place)
    with (mount.path / "file").open("wb"):
        done = mount.try_umount()
        assert done.returncode == 6
        assert "busy" in done.stderr
        assert mount.status()["pid"] == mount.pid
    mount.umount()


def test_mountpoint_of_a_dead_daemon(directory_place: Place, mounts: Mounts) -> None:
    mount = mounts(directory_place)
    (mount.path / "file").write_bytes(b"content")
    mount.kill()
    with refused(errno.ENOTCONN):
        os.listdir(mount.path)
    for verb in ("status", "sync"):
        done = run_storefs(verb, mount.path)
        assert done.returncode == 6
        assert f"the daemon of {mount.path} is dead" in done.stderr
    mount.remount()
    assert (mount.path / "file").read_bytes() == b"content"
    mount.kill()
    done = mount.try_umount()
    assert done.returncode == 0, done.stderr
    assert os.listdir(mount.path) == []
    mount.remount()
    assert (mount.path / "file").read_bytes() == b"content"


def test_read_only_mount(place: Place, mounts: Mounts) -> None:
    mount = mounts(place)
    (mount.path / "file").write_bytes(b"content")
    mount.umount()
    before = place.objects()
    mount.options["ro"] = "yes"
    mount.remount(new_cache=True)
    assert (mount.path / "file").read_bytes() == b"content"
    assert mount.status()["read_only"]
    for attempt in (
        (mount.path / "new").touch,
        (mount.path / "new").mkdir,
        (mount.path / "file").unlink,
        lambda: (mount.path / "file").write_bytes(b""),
        lambda: (mount.path / "file").chmod(0o600),
    ):
        with refused(errno.EROFS):
            attempt()
    assert run_storefs("sync", mount.path).returncode == 0, "nothing was written"
    mount.umount()
    assert place.objects() == before, "a read-only mount puts nothing"


def _two(place: Place, mounts: Mounts, tmp_path: Path, **first: str) -> tuple[Mounted, Mounted]:
    """Return two mounts of one store that share one directory of caches."""
    common = {"cache_dir": str(tmp_path / "common")}
    one, other = mounts(place, **common, **first), mounts(place, **common)
    assert one.status()["cache"]["path"] != other.status()["cache"]["path"]
    assert one.status()["node"] != other.status()["node"]
    return one, other


def test_an_idle_mount_follows_another(place: Place, mounts: Mounts, tmp_path: Path) -> None:
    idle, busy = _two(place, mounts, tmp_path)
    seen, file = idle.path / "file", busy.path / "file"
    assert not seen.exists()  # the kernel keeps that answer, too
    file.write_bytes(b"first")
    busy.sync()
    eventually(seen.exists)
    assert os.listdir(idle.path) == ["file"]
    assert seen.read_bytes() == b"first"

    with file.open("ab") as opened:
        opened.write(b" and second")
    busy.sync()
    eventually(lambda: seen.stat().st_size == len(b"first and second"))
    assert seen.read_bytes() == b"first and second"

    file.write_bytes(b"F" * len(b"first and second"))  # of the same size: the pages must go
    file.chmod(0o600)
    busy.sync()
    eventually(lambda: seen.stat().st_mode & 0o777 == 0o600)
    eventually(lambda: seen.read_bytes() == b"F" * len(b"first and second"))

    (busy.path / "directory").mkdir()
    file.rename(busy.path / "directory" / "moved")
    busy.sync()
    eventually(lambda: os.listdir(idle.path) == ["directory"])
    assert not seen.exists()
    with (idle.path / "directory" / "moved").open("rb", buffering=0) as opened:
        (busy.path / "directory" / "moved").unlink()
        busy.sync()
        eventually(lambda: os.listdir(idle.path / "directory") == [])
        assert opened.read(1) == b"F", "who has it open keeps it"
    assert differences(describe(busy.path), describe(idle.path)) == []
    (idle.path / "mine").write_bytes(b"now it is the other's turn")
    idle.sync()
    eventually((busy.path / "mine").exists)


def test_the_later_of_two_writers_goes_on_top(place: Place, mounts: Mounts, tmp_path: Path) -> None:
    late, early = _two(place, mounts, tmp_path, commit_interval="1h")
    (late.path / "late").write_bytes(b"pending")
    (late.path / "same").write_bytes(b"second")
    (early.path / "early").write_bytes(b"committed")
    (early.path / "same").write_bytes(b"first")
    early.sync()
    late.sync()
    status = late.status()
    assert (status["read_only"], status["trouble"], status["conflicts"]) == (False, None, 1)
    assert status["pending"]["changes"] == 0
    copy = f"same.conflict-{status['node']}-{status['commit']['seq']}"
    expected = {"late": b"pending", "early": b"committed", "same": b"first", copy: b"second"}
    early.sync()
    for mount in (late, early):
        assert {path.name: path.read_bytes() for path in mount.path.iterdir()} == expected
    assert "conflict copies" in run_storefs("status", late.path).stdout
