"""``storefs clone`` on a real mount: what the kernel sees of a copy, and what the command says."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storefs.testing.mounted import Mounted, run_storefs
from storefs.testing.trees import describe, differences, make_tree
from tests.mount.places import Mounts, Place, eventually, refused

pytestmark = pytest.mark.mount


def shard_bytes(place: Place) -> int:
    return sum(one.size for one in place.objects() if one.key.startswith("shards/"))


@pytest.mark.parametrize("bridge", ["yes", "no"])
def test_a_tree_is_cloned(directory_place: Place, mounts: Mounts, tmp_path: Path, seed: int, bridge: str) -> None:
    make_tree(tmp_path / "tree", seed, files=300, biggest=1 << 20)
    mount = mounts(directory_place, bridge=bridge)
    source, target = mount.path / "source", mount.path / "below" / "copy"
    target.parent.mkdir()
    subprocess.run(["cp", "-a", tmp_path / "tree", source], check=True, timeout=60)
    wanted = describe(source)
    mount.sync()
    stored = shard_bytes(directory_place)
    assert not target.exists(), "the kernel keeps that there is none"
    assert os.listdir(target.parent) == []
    done = run_storefs("clone", source, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{source} is cloned to {target}\n")
    assert target.is_dir()
    assert os.listdir(target.parent) == ["copy"]
    assert differences(wanted, describe(target)) == []
    mount.sync()
    assert shard_bytes(directory_place) == stored, "no data was stored again"
    files = [one for one in sorted(target.rglob("*")) if stat.S_ISREG(one.lstat().st_mode)]
    for file in files[::3]:
        file.chmod(0o600)
        file.write_bytes(b"changed")
    assert differences(wanted, describe(source)) == []
    left = describe(mount.path)
    mount.umount()
    mount.remount(new_cache=True)
    assert differences(left, describe(mount.path)) == []


def test_files_links_and_relative_paths(shared: Mounted, folder: Path) -> None:
    (folder / "file").write_bytes(b"content" * 10_000)
    (folder / "link").symlink_to("nowhere")
    (folder / "sub").mkdir()
    program = [sys.executable, "-m", "storefs.cli.main", "clone"]
    for source, target in (("file", "sub/../copy"), ("link", "./sub/link"), ("sub/../sub/.", "sub-copy")):
        done = subprocess.run(
            [*program, source, target], cwd=folder, capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "copy").read_bytes() == b"content" * 10_000
    assert os.readlink(folder / "sub-copy" / "link") == os.readlink(folder / "sub" / "link") == "nowhere"


def test_it_says_what_is_wrong(shared: Mounted, folder: Path, tmp_path: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "file").touch()
    for source, target, code, says in (
        (folder / "a", folder / "file", 1, "exists already"),
        (folder / "a", folder / "a", 1, "exists already"),
        (folder / "a", shared.path / ".storefs", 1, "exists already"),
        (folder / "a", folder / "a" / "b" / "c", 2, "cannot be cloned into itself"),
        (shared.path, folder / "all", 2, "cannot be cloned into itself"),
        (folder / "none", folder / "copy", 2, "there is no file"),
        (folder / "a", folder / "none" / "copy", 2, "there is no directory"),
        (folder / "a", tmp_path / "copy", 2, "not on a storefs mount"),
        (tmp_path, folder / "copy", 2, "not on a storefs mount"),
        (shared.path / ".storefs" / "status", folder / "copy", 1, "No such file"),
    ):
        done = run_storefs("clone", source, target)
        assert (done.returncode, done.stdout) == (code, ""), (source, target, done.stderr)
        assert says in done.stderr
    assert sorted(os.listdir(folder)) == ["a", "file"]
    assert os.listdir(folder / "a") == ["b"]


def test_two_mounts_are_not_one(directory_place: Place, mounts: Mounts) -> None:
    one, two = mounts(directory_place), mounts(directory_place)
    (one.path / "file").write_bytes(b"x")
    done = run_storefs("clone", one.path / "file", two.path / "copy")
    assert done.returncode == 2
    assert "not on the same mount" in done.stderr
    reader = mounts(directory_place, ro="yes")
    one.sync()
    eventually((reader.path / "file").exists)
    done = run_storefs("clone", reader.path / "file", reader.path / "copy")
    assert done.returncode == 6
    assert "takes no changes" in done.stderr


def test_the_control_file(shared: Mounted, folder: Path) -> None:
    control = shared.path / ".storefs" / "clone"
    (folder / "a\nb").mkdir()
    (folder / "a\nb" / "file").write_bytes(b"x")
    inside = b"/" + os.fsencode(folder.name)
    control.write_bytes(inside + b"/a\nb\0" + inside + b"/c\n")
    assert (folder / "c\n" / "file").read_bytes() == b"x"
    for data, number in (
        (inside + b"/a\nb", errno.EINVAL),
        (inside + b"/a\nb\0" + inside + b"/c\n", errno.EEXIST),
        (inside + b"/a\nb\0" + inside + b"/../x", errno.EINVAL),
    ):
        with refused(number):
            control.write_bytes(data)
    assert control.stat().st_mode & 0o777 == 0o200


def test_killed_in_the_middle(directory_place: Place, mounts: Mounts) -> None:
    """Whenever the daemon dies, the copy is whole, or what there is says that it is not and can be removed."""
    mount = mounts(directory_place)
    source = mount.path / "source"
    for number in range(60):
        (source / f"{number:02}").mkdir(parents=True)
        for name in range(100):
            (source / f"{number:02}" / f"{name:02}").write_bytes(b"%d" % name)
    mount.sync()
    wanted = describe(source)

    def clone() -> None:
        run_storefs("clone", source, mount.path / "copy")

    thread = threading.Thread(target=clone)
    thread.start()
    eventually(lambda: len(os.listdir(mount.path)) > 1, pause_s=0.001)
    os.kill(mount.pid, signal.SIGKILL)
    mount.kill()
    thread.join(60)
    mount.remount()
    names = set(os.listdir(mount.path)) - {"source"}
    assert len(names) == 1
    (name,) = names
    if name == "copy":
        assert differences(wanted, describe(mount.path / "copy")) == []
    else:
        assert name.startswith("copy.unfinished-clone-")
        assert subprocess.run(["rm", "-r", mount.path / name], check=False, timeout=60).returncode == 0
        assert run_storefs("clone", source, mount.path / "copy").returncode == 0
    assert differences(wanted, describe(source)) == []
    left = describe(mount.path)
    assert sorted(os.listdir(mount.path)) == ["copy", "source"]
    mount.umount()
    mount.remount(new_cache=True)
    assert differences(left, describe(mount.path)) == []


def test_a_time_to_live_is_checked(shared: Mounted, folder: Path) -> None:
    os.setxattr(folder, "user.storefs.ttl", b"7d")
    for bad in (b"", b"soon", b"-1d"):
        with refused(errno.EINVAL):
            os.setxattr(folder, "user.storefs.ttl", bad)
    with refused(errno.EINVAL):
        os.setxattr(shared.path, "user.storefs.ttl", b"7d")
    assert os.getxattr(folder, "user.storefs.ttl") == b"7d"
    assert run_storefs("clone", folder, folder.with_name("kept-as-long")).returncode == 0
    assert os.getxattr(folder.with_name("kept-as-long"), "user.storefs.ttl") == b"7d"
