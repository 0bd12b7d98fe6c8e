"""A store that an earlier storefs wrote is read, written, checked and swept by this one."""

import hashlib
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from storefs.testing.mounted import run_storefs
from tests.mount.places import Mounts, Place

pytestmark = pytest.mark.mount

_STORE = Path(__file__).parent / "data" / "store-format-1.tar.gz"
"""Written by version 0.1.0 before several mounts could write at once: store format 1, tree schema 1, a snapshot, and
commits behind it. ``manifest.json`` says what its files are."""


@pytest.fixture
def old(tmp_path: Path) -> Place:
    with tarfile.open(_STORE) as archive:
        archive.extractall(tmp_path, filter="data")
    return Place(str(tmp_path / "store"))


def _described(root: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for path in sorted(root.rglob("*")):
        status, content = path.lstat(), None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        size = 0 if path.is_dir() else status.st_size
        found[str(path.relative_to(root))] = {
            "mode": status.st_mode, "size": size, "nlink": status.st_nlink, "content": content,
        }  # fmt: skip
    return found


def test_a_store_of_format_1(old: Place, mounts: Mounts, tmp_path: Path) -> None:
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    mount = mounts(old)
    assert _described(mount.path) == manifest
    assert os.getxattr(mount.path / "small", "user.comment") == b"kept"
    assert (mount.path / "small").stat().st_mtime_ns == 1_700_000_000_000_000_002
    assert stat.S_ISDIR((mount.path / "folder").stat().st_mode)
    (mount.path / "new").write_bytes(b"written by this version")
    (mount.path / "folder" / "text").unlink()
    mount.umount()
    checked = run_storefs("fsck", old.source, "--data")
    assert checked.returncode == 0, checked.stdout
    assert run_storefs("gc", old.source, "--grace", "0s").returncode == 0
    assert run_storefs("compact", old.source).returncode == 0
    again = mounts(old)
    del manifest["folder/text"]
    found = _described(again.path)
    assert found.pop("new")["size"] == len(b"written by this version")
    assert found == manifest
