"""A daemon that is killed while the kernel waits for it: it ends all the same, and its mount lets go of everybody."""

import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted
from tests.mount.places import Mounts, Place, eventually

pytestmark = pytest.mark.mount

_KILLS = 2

_MAKER = """
import os, sys, time
while True:
    try:
        os.mkdir(f"{sys.argv[1]}/{sys.argv[2]}-{time.time_ns()}")
    except OSError:
        time.sleep(0.02)
"""
"""Makes directories for ever, each under the lock of its directory until another machine could know of it."""


@contextlib.contextmanager
def _makers(folder: Path, count: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", _MAKER, str(folder), str(one)]) for one in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait(60)


@contextlib.contextmanager
def _elsewhere(mount: Mounted) -> Iterator[None]:
    """Have another mount make names in the same directory all the time."""
    stop = threading.Event()

    def make() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (mount.path / "d" / f"other-{number}").touch()
            (mount.path / ".storefs" / "sync").write_bytes(b"1")

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


def _wardens(mount: Mounted) -> int:
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            found += any(word.endswith(b"/warden.py") for word in words) and os.fsencode(mount.path) in words
    return found


def test_a_daemon_killed_while_it_invalidates_lets_go(directory_place: Place, mounts: Mounts) -> None:
    one = mounts(directory_place, consistency="strict", poll_interval="0.05")
    two = mounts(directory_place, poll_interval="0.05")
    (one.path / "d").mkdir()
    one.sync()
    two.sync()
    with _elsewhere(two), _makers(one.path / "d", 4):
        for _ in range(_KILLS):
            before = len(os.listdir(one.path / "d"))
            eventually(lambda before=before: len(os.listdir(one.path / "d")) > before + 10)  # type: ignore[misc]
            one.kill()  # fails when the daemon does not end
            with pytest.raises(OSError, match="not connected") as caught:
                os.listdir(one.path)
            assert caught.value.errno == errno.ENOTCONN
            one.remount()
    one.sync()


def test_a_warden_ends_with_its_daemon(directory_place: Place, mounts: Mounts) -> None:
    mount = mounts(directory_place)
    assert _wardens(mount) == 1
    mount.kill()
    eventually(lambda: _wardens(mount) == 0)
    mount.remount()
    assert _wardens(mount) == 1
    mount.umount()
    eventually(lambda: _wardens(mount) == 0)


def test_nothing_is_pushed_before_the_kernel_takes_it(directory_place: Place, mounts: Mounts) -> None:
    """A mount that catches up while it begins does not fill its log with what the kernel refuses."""
    one, two = mounts(directory_place), mounts(directory_place)
    for number in range(200):
        (one.path / f"{number}").touch()
    one.sync()
    two.kill()
    (one.path / "later").touch()
    one.sync()
    two.remount()
    eventually((two.path / "later").exists)
    assert "cannot push" not in two.log
