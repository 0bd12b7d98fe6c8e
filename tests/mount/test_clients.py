"""Clients that die, and handlers that fail: the mount goes on, and nothing of them is left over."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted
from storefs.testing.s3server import S3Server
from tests.mount.places import Mounts, Place, eventually, refused

pytestmark = pytest.mark.mount

CLIENTS = 100

READER = """
import itertools, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
print("ready", flush=True)
for number in itertools.count():
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(descriptor, 1 << 16, 0)
        os.stat(f"{sys.argv[1]}-{os.getpid()}-{number}")
    except OSError:
        pass
"""


def memory_kib(mount: Mounted) -> int:
    status = Path(f"/proc/{mount.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


def start_clients(folder: Path) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen([sys.executable, "-S", "-c", READER, str(folder / f"{number}")], stdout=subprocess.PIPE)
        for number in range(CLIENTS)
    ]


def kill(clients: list[subprocess.Popen[bytes]]) -> None:
    for client in clients:
        client.kill()
    for client in clients:
        client.wait(60)
        assert client.stdout is not None
        client.stdout.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("bridge", ["yes", "no"])
def test_clients_killed_amid_requests(directory_place: Place, mounts: Mounts, bridge: str) -> None:
    mount = mounts(directory_place, bridge=bridge)
    for number in range(CLIENTS):
        (mount.path / f"{number}").write_bytes(os.urandom(1 << 16))
    stalls_ms, memory, tasks = [], [], []
    for _ in range(3):
        clients = start_clients(mount.path)
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == b"ready\n"
        mount.status()  # from here on the longest stall is measured
        kill(clients)
        time.sleep(0.5)
        kernel = mount.status()["kernel"]
        stalls_ms.append(kernel["stall_ms_max"])
        tasks.append(kernel["tasks"])
        memory.append(memory_kib(mount))
    print(f"longest stalls of the loop: {stalls_ms} ms; memory {memory} KiB; {tasks} tasks")
    # A loop that froze in a read would stand still until the next request came. (The time itself is the machine's.)
    assert max(stalls_ms) < 1000
    # The first round makes what stays for good: the workers of pyfuse3, caches.
    assert max(tasks[1:]) <= tasks[0] + 10
    assert max(memory[1:]) < memory[0] + (16 << 10)
    assert (mount.path / "1").stat().st_size == 1 << 16
    mount.umount()


@pytest.mark.s3
@pytest.mark.timeout(180)
def test_clients_killed_while_the_store_does_not_answer(s3_place: Place, mounts: Mounts, server: S3Server) -> None:
    writer = mounts(s3_place)
    for number in range(CLIENTS):
        (writer.path / f"{number}").write_bytes(os.urandom(1 << 16))
    writer.umount()
    mount = mounts(s3_place, store_deadline="3s")
    os.listdir(mount.path)
    server.stop()
    clients = start_clients(mount.path)
    time.sleep(2)
    kill(clients)
    server.start()
    # Requests of the dead end with their deadlines; then everything works again.
    eventually(lambda: can_read(mount.path / "5"))
    assert mount.status()["kernel"]["stall_ms_max"] < 2000
    mount.umount()


def can_read(path: Path) -> bool:
    try:
        return len(path.read_bytes()) == 1 << 16
    except OSError:
        return False


@pytest.mark.parametrize("bridge", ["yes", "no"])
def test_a_defect_in_a_handler_is_one_failed_call(
    directory_place: Place, mounts: Mounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bridge: str
) -> None:
    # Python imports this at the start of every process that has the folder in its path.
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "sitecustomize.py").write_text(
        """
from storefs.volume.names import Names
from storefs.volume.files import Files

def broken(self, *arguments):
    raise ZeroDivisionError("planted")

Names.read_link = broken
Files.seek = broken
"""
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "planted"))
    mount = mounts(directory_place, bridge=bridge)
    monkeypatch.delenv("PYTHONPATH")
    (mount.path / "link").symlink_to("target")
    (mount.path / "file").write_bytes(b"content")
    with refused(errno.EIO):
        os.readlink(mount.path / "link")
    if bridge == "yes":
        descriptor = os.open(mount.path / "file", os.O_RDONLY)
        with refused(errno.EIO):
            os.lseek(descriptor, 0, os.SEEK_HOLE)
        os.close(descriptor)
    assert "ZeroDivisionError: planted" in mount.log
    assert mount.status()["errors"] == (2 if bridge == "yes" else 1)
    assert (mount.path / "file").read_bytes() == b"content"
    assert mount.terminate() == 0
