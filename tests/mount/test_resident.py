"""Served by the kernel: what is cached costs no request, and is never older than what was written, wherever."""

import errno
import fcntl
import json
import mmap
import os
import random
import threading
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted
from tests.mount.places import Mounts, Place, eventually, refused, succeed

pytestmark = pytest.mark.mount

BOTH = pytest.mark.parametrize("bridge", ["yes", "no"])
FILES = 300
BYTES = 5000


def requests(mount: Mounted) -> int:
    """How many requests the kernel has sent; asking takes a few more."""
    count = mount.status()["kernel"]["requests"]
    assert isinstance(count, int)
    return count


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def filled(directory_place: Place, mounts: Mounts, seed: int) -> dict[str, bytes]:
    """A store with FILES small files in the folder ``d``; their contents."""
    dice = random.Random(seed)
    wanted = {f"{number:03d}": dice.randbytes(BYTES) for number in range(FILES)}
    mount = mounts(directory_place)
    (mount.path / "d").mkdir()
    for name, data in wanted.items():
        (mount.path / "d" / name).write_bytes(data)
    (mount.path / "d" / "link").symlink_to("000")
    mount.umount()
    return wanted | {"link": wanted["000"]}


@BOTH
def test_status_says_whether_the_bridge_serves(directory_place: Place, mounts: Mounts, bridge: str) -> None:
    kernel = mounts(directory_place, bridge=bridge).status()["kernel"]
    assert kernel["bridge"] is kernel["resident"] is (bridge == "yes")
    assert (kernel["why_not"] is None) == (bridge == "yes")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise the kernel's read-ahead")
def test_the_kernel_asks_in_large_pieces(directory_place: Place, mounts: Mounts) -> None:
    mount = mounts(directory_place)
    size = 16 << 20
    with (mount.path / "file").open("wb") as file:
        file.write(os.urandom(size))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = requests(mount)
    assert len((mount.path / "file").read_bytes()) == size
    assert requests(mount) - before < 2 * 16 + 20, "128 KiB each would be 128"


def test_cached_files_and_listings_cost_nothing(
    filled: dict[str, bytes], directory_place: Place, mounts: Mounts
) -> None:
    mount = mounts(directory_place, ro="yes")
    folder = mount.path / "d"
    assert contents(folder) == filled
    before = requests(mount)
    for _ in range(5):
        assert contents(folder) == filled
        assert [os.readlink(folder / "link") for _ in range(10)] == ["000"] * 10
        succeed("find", mount.path, "-newer", "/")
    # Python asks each file that it opens whether it is a terminal, and find asks for the kind of filesystem.
    assert requests(mount) - before < 5 * (FILES + 40)
    before = requests(mount)
    for _ in range(5):
        for name, data in filled.items():
            descriptor = os.open(folder / name, os.O_RDONLY)
            assert os.read(descriptor, 2 * BYTES) == data
            os.close(descriptor)
        os.listdir(folder)
    assert requests(mount) - before < 20


def test_ls_asks_a_few_times_and_not_for_each_file(
    filled: dict[str, bytes], directory_place: Place, mounts: Mounts
) -> None:
    mount = mounts(directory_place)
    succeed("ls", "-lR", mount.path)
    before = requests(mount)
    succeed("ls", "-lR", mount.path)
    assert requests(mount) - before < 20


@BOTH
def test_small_files_come_along(filled: dict[str, bytes], directory_place: Place, mounts: Mounts, bridge: str) -> None:
    mount = mounts(directory_place, bridge=bridge, ro="yes")
    folder = mount.path / "d"
    os.listdir(folder)
    assert contents(folder) == filled
    fetched = mount.status()["fetch"]
    assert fetched["requests"] < FILES / 20
    assert fetched["pushed_files"] > FILES / 2
    assert contents(folder) == filled


@BOTH
def test_no_truncation_is_lost(directory_place: Place, mounts: Mounts, bridge: str, seed: int) -> None:
    mount = mounts(directory_place, bridge=bridge)
    dice = random.Random(seed)
    wanted: dict[str, bytes] = {}
    for _ in range(120):
        path = mount.path / f"{dice.randrange(8)}"
        data = dice.randbytes(dice.randrange(20_000))
        verb = dice.choice(["open", "shell", "creat", "nothing written", "ftruncate", "truncate"])
        if verb == "open":
            path.write_bytes(data)
        elif verb == "shell":
            succeed("sh", "-c", f"printf %s '{data.hex()}' > {path}")
            data = data.hex().encode()
        elif verb == "ftruncate":
            with path.open("ab") as file:
                file.truncate(len(data))
            data = (wanted.get(path.name, b"") + bytes(len(data)))[: len(data)]
        elif verb == "truncate" and path.exists():
            os.truncate(path, len(data))
            data = (wanted.get(path.name, b"") + bytes(len(data)))[: len(data)]
        elif verb == "nothing written":
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644))
            data = b""
        else:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            os.write(descriptor, data)
            os.close(descriptor)
        wanted[path.name] = data
        if dice.random() < 0.1:
            os.sync()
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        assert path.read_bytes() == data
    mount.umount()
    mount.remount(new_cache=True)
    assert contents(mount.path) == wanted


@BOTH
def test_what_another_mount_changes_shows(place: Place, mounts: Mounts, bridge: str) -> None:
    writer, reader = mounts(place), mounts(place, bridge=bridge)
    folder = writer.path / "d"
    folder.mkdir()
    for name in ("shrinks", "grows", "same", "goes", "moves", "linked"):
        (folder / name).write_bytes(b"old content\n" * 1000)
    os.link(folder / "linked", folder / "other name")
    seen = reader.path / "d"
    wanted = contents(folder)
    eventually(lambda: seen.exists() and len(os.listdir(seen)) == 7 and contents(seen) == wanted)
    assert not (seen / "comes").exists()  # a negative entry, kept by the kernel

    (folder / "shrinks").write_bytes(b"new\n")
    with (folder / "grows").open("ab") as file:
        file.write(b"new\n" * 5000)
    (folder / "same").write_bytes(b"new content\n" * 1000)
    (folder / "goes").unlink()
    (folder / "moves").rename(folder / "moved")
    (folder / "linked").unlink()
    (folder / "comes").write_bytes(b"come\n")
    wanted = contents(folder)

    eventually((seen / "comes").exists)
    assert sorted(os.listdir(seen)) == sorted(wanted)
    assert contents(seen) == wanted
    assert [os.stat(seen / name).st_size for name in wanted] == [len(data) for data in wanted.values()]
    assert os.stat(seen / "other name").st_nlink == 1


def test_neighbours_never_win_over_writes_and_mappings(
    filled: dict[str, bytes], directory_place: Place, mounts: Mounts, seed: int
) -> None:
    mount = mounts(directory_place)
    folder = mount.path / "d"
    dice = random.Random(seed)
    names = [name for name in filled if name != "link"]
    wanted = dict(filled)
    stop = threading.Event()

    def read_around() -> None:
        others = random.Random(seed + 1)
        while not stop.is_set():
            for name in others.sample(names, len(names)):
                (folder / name).read_bytes()

    os.listdir(folder)
    threads = [threading.Thread(target=read_around) for _ in range(2)]
    for thread in threads:
        thread.start()
    for name in dice.sample(names, 150):
        at, data = dice.randrange(BYTES - 200), dice.randbytes(100)
        with (folder / name).open("r+b") as file:
            if dice.random() < 0.5:
                os.pwrite(file.fileno(), data, at)
            with mmap.mmap(file.fileno(), BYTES) as mapped:
                mapped[at : at + 100] = data
                more, behind = dice.randbytes(50), at + 100
                mapped[behind : behind + 50] = more
        wanted[name] = filled[name][:at] + data + more + filled[name][behind + 50 :]
        assert (folder / name).read_bytes() == wanted[name]
    stop.set()
    for thread in threads:
        thread.join()
    wanted["link"] = wanted["000"]
    assert contents(folder) == wanted
    mount.umount()
    mount.remount(new_cache=True)
    assert contents(folder) == wanted


def test_ioctl(directory_place: Place, mounts: Mounts) -> None:
    mount = mounts(directory_place, commit_interval="1h")
    path = mount.path / "file"
    path.write_bytes(b"content")
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.ioctl(descriptor, 0xF501)
    assert mount.status()["pending"]["changes"] == 0
    assert not os.isatty(descriptor)
    with refused(errno.ENOTTY):
        fcntl.ioctl(descriptor, 0xF5FF)
    os.close(descriptor)
    folder = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.ioctl(folder, 0xF502)
    os.close(folder)


@BOTH
def test_what_the_bridge_adds(directory_place: Place, mounts: Mounts, bridge: str) -> None:
    mount = mounts(directory_place, bridge=bridge)
    source, target = (os.open(mount.path / name, os.O_RDWR | os.O_CREAT) for name in ("source", "target"))
    os.pwrite(source, b"a" * 50_000, 0)
    os.ftruncate(source, 100_000)
    assert os.copy_file_range(source, target, 100_000, 0, 0) == 100_000
    assert os.pread(target, 100_000, 0) == b"a" * 50_000 + bytes(50_000)
    os.posix_fallocate(target, 0, 120_000)
    assert os.fstat(target).st_size == 120_000
    assert os.lseek(source, 0, os.SEEK_HOLE) == (50_000 if bridge == "yes" else 100_000)
    assert os.lseek(source, 10, os.SEEK_DATA) == 10
    if bridge == "yes":
        os.fsync(source)
        chunks = [json.loads(os.getxattr(one, b"user.storefs.info"))["chunks"] for one in (source, target)]
        assert chunks == [1, 1]
        assert json.loads(os.getxattr(mount.path / "target", b"user.storefs.info"))["stored_bytes"] < 50_000
    os.close(source)
    os.close(target)
