"""Mountpoints that cannot be used, and options as mount(8) passes them."""

import sys
from pathlib import Path

import pytest

from storefs.cli import mounted
from storefs.errors import MissingPart, MountpointError
from storefsd import mounthelper, mountpoint


def test_no_fuse_device_is_a_missing_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path) != "/dev/fuse" and exists(path))
    with pytest.raises(MissingPart, match="/dev/fuse") as caught:
        mountpoint.prepare(str(tmp_path))
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_mountpoint_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/fuse" or exists(path))
    place = tmp_path / "place"
    if kind == "file":
        place.write_bytes(b"")
    with pytest.raises(MountpointError, match=r"cannot mount on .*place") as caught:
        mountpoint.prepare(str(place))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("field", "meant"), [(b"/mnt/a\\040b", "/mnt/a b"), (b"/mnt/\\134x", "/mnt/\\x"), (b"/mnt/\xff", "/mnt/\udcff")]
)
def test_mount_tables_write_blanks_as_octal(field: bytes, meant: str) -> None:
    assert mounted.unescape(field) == meant


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["s3://b/p", "/mnt", "-o", "rw,_netdev,nofail,cache_size=5G"], ["s3://b/p", "/mnt", "-o", "cache_size=5G"]),
        (["store", "/mnt", "-o", "ro,x-systemd.automount,noatime"], ["store", "/mnt", "-o", "ro="]),
        (["storefs#store", "/mnt", "-t", "fuse.storefs"], ["store", "/mnt"]),
    ],
)
def test_options_of_mount_that_are_not_ours(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], command: list[str]
) -> None:
    called = []
    monkeypatch.setattr(mounthelper, "storefs", lambda: called.append(list(sys.argv)))
    monkeypatch.setattr(sys, "argv", ["mount.storefs", *arguments])
    mounthelper.main()
    assert called == [["storefs", "mount", *command]]
