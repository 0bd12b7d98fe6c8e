"""O_APPEND through several mounts: what was appended elsewhere stays, even where the kernel thinks of an old size."""

import os

import pytest

from tests.mount.places import Mounts, Place, eventually

pytestmark = pytest.mark.mount


def test_an_open_log_that_grew_elsewhere(directory_place: Place, mounts: Mounts) -> None:
    one, two = (mounts(directory_place) for _ in range(2))
    assert one.status()["kernel"]["bridge"], "without it the end is where the kernel thinks it is"
    (one.path / "log").write_bytes(b"0\n")
    one.sync()
    eventually((two.path / "log").exists)
    descriptors = [os.open(mount.path / "log", os.O_WRONLY | os.O_APPEND) for mount in (one, two)]
    expected = b"0\n"
    for turn in range(6):
        line = b"%d by mount %d\n" % (turn, turn % 2)
        assert os.write(descriptors[turn % 2], line) == len(line)
        expected += line
        (one, two)[turn % 2].sync()
        (two, one)[turn % 2].sync()  # now it has the line; who has the log open there was not asked anything
    for descriptor in descriptors:
        os.close(descriptor)
    for mount in (one, two):
        mount.sync()
        assert (mount.path / "log").read_bytes() == expected
        assert sorted(os.listdir(mount.path)) == ["log"]
