"""What cannot be mounted is refused: with the exit code of its kind and a message that names what was wrong."""

import os
import sys
from pathlib import Path

import pytest

from storefs.testing.mounted import run_storefs
from tests.mount.places import Mounts, Place, run, succeed

pytestmark = pytest.mark.mount


def _options(place: Place, **more: str) -> list[str]:
    return [word for name, value in {**place.options, **more}.items() for word in ("-o", f"{name}={value}")]


def _refused(code: int, *arguments: str | Path, says: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a command that must fail with ``code``, in one line that ``says`` what is wrong."""
    done = run_storefs(*arguments, environment=environment)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert str(says) in done.stderr
    assert "Traceback" not in done.stderr


def _is_mounted(path: Path) -> bool:
    return f" {path} " in Path("/proc/self/mounts").read_text()


def test_mountpoint_in_use(directory_place: Place, mounts: Mounts, tmp_path: Path) -> None:
    mount = mounts(directory_place)
    _refused(6, "mount", tmp_path / "another", mount.path, says=f"{mount.path} is in use")
    assert mount.status()["pid"] == mount.pid


def test_mountpoint_missing(directory_place: Place, mountpoint: Path) -> None:
    missing = mountpoint / "missing"
    _refused(6, "mount", directory_place.source, missing, says=missing)


def test_mountpoint_is_a_file(directory_place: Place, mountpoint: Path) -> None:
    file = mountpoint / "file"
    file.touch()
    _refused(6, "mount", directory_place.source, file, says=f"{file}: it is not a directory")


def test_source_of_something_else(place: Place, mounts: Mounts, mountpoint: Path) -> None:
    place.put("photo.jpg", b"not of a store")
    _refused(3, "mount", place.source, mountpoint, *_options(place), says="photo.jpg")
    assert [thing.key for thing in place.objects()] == ["photo.jpg"], "what is not ours is not touched"
    assert not _is_mounted(mountpoint)


def test_read_only_mount_of_an_empty_place(place: Place, mountpoint: Path) -> None:
    if "://" not in place.source:
        Path(place.source).mkdir()
    _refused(3, "mount", place.source, mountpoint, "--ro", *_options(place), says=place.source)
    assert place.objects() == []


def test_source_without_a_parent(tmp_path: Path, mountpoint: Path) -> None:
    source = tmp_path / "no" / "such"
    _refused(3, "mount", source, mountpoint, says=source)
    assert not source.parent.exists()


def test_source_is_a_file(tmp_path: Path, mountpoint: Path) -> None:
    (tmp_path / "file").touch()
    _refused(3, "mount", tmp_path / "file", mountpoint, says=tmp_path / "file")


@pytest.mark.parametrize("source", ["s3://", "gopher://a/b"])
def test_source_that_makes_no_sense(source: str, mountpoint: Path) -> None:
    _refused(2, "mount", source, mountpoint, says="s3://bucket/prefix")


@pytest.mark.s3
def test_endpoint_unreachable(s3_place: Place, mountpoint: Path) -> None:
    options = _options(s3_place, endpoint_url="http://127.0.0.1:9", store_deadline="2s")
    _refused(3, "mount", s3_place.source, mountpoint, *options, says="127.0.0.1:9")


@pytest.mark.s3
def test_bucket_missing(s3_place: Place, mountpoint: Path) -> None:
    options = _options(s3_place, store_deadline="2s")
    _refused(3, "mount", "s3://no-such-bucket/prefix", mountpoint, *options, says="no-such-bucket")


@pytest.mark.s3
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_credentials_refused(s3_place: Place, mountpoint: Path, name: str) -> None:
    _refused(
        4, "mount", s3_place.source, mountpoint, *_options(s3_place), says=s3_place.source, environment={name: "wrong"}
    )


@pytest.mark.s3
def test_credentials_missing(s3_place: Place, mountpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    _refused(4, "mount", s3_place.source, mountpoint, *_options(s3_place), says="credentials")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("cache_sice=1G", "cache_sice"),
        ("cache_size=plenty", "cache_size takes a size, such as 20G or 512M, not 'plenty'"),
        ("commit_interval=soon", "commit_interval"),
        ("ro=perhaps", "ro takes yes or no"),
        ("connections=-1", "connections"),
    ],
)
def test_bad_options(directory_place: Place, mountpoint: Path, option: str, says: str) -> None:
    _refused(2, "mount", directory_place.source, mountpoint, "-o", option, says=says)
    assert not Path(directory_place.source).exists()


def test_bad_words(mountpoint: Path) -> None:
    _refused(2, "umount", mountpoint, says=f"no storefs is mounted at {mountpoint}")
    _refused(2, "status", mountpoint, says=mountpoint)
    _refused(2, "sync", mountpoint, says=mountpoint)
    _refused(2, "info", mountpoint / "no-such", says=mountpoint / "no-such")
    _refused(2, "info", mountpoint, says="not on a storefs mount")
    _refused(2, "mount", "--no-such-flag", says="--no-such-flag")
    _refused(2, "mount", says="SOURCE")


def test_cache_directory_cannot_be_made(directory_place: Place, mountpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "cache"
    _refused(1, "mount", directory_place.source, mountpoint, "-o", f"cache_dir={cache}", says=cache)


_HELPER = "import sys; from storefsd.mounthelper import main; sys.argv[0] = 'mount.storefs'; main()"


def _mount_helper(*arguments: str | Path) -> None:
    """Call the helper as mount(8) does: with an environment that has next to nothing in it."""
    line = ["env", "-i", f"XDG_CONFIG_HOME={os.devnull}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    succeed(*line, sys.executable, "-c", _HELPER, *arguments)


def test_mount_helper(directory_place: Place, mountpoint: Path, tmp_path: Path) -> None:
    common = f"_netdev,nofail,x-systemd.automount,noatime,cache_dir={tmp_path / 'caches'}"
    _mount_helper(directory_place.source, mountpoint, "-n", "-o", f"rw,{common},commit_interval=1s")
    (mountpoint / "file").write_bytes(b"content")
    succeed("umount", mountpoint)  # returns at once; the next mount waits for the daemon
    _mount_helper(f"storefs#{directory_place.source}", mountpoint, "-o", f"ro,{common}", "-t", "storefs")
    assert (mountpoint / "file").read_bytes() == b"content"
    assert run("touch", mountpoint / "another").returncode == 1
    assert run_storefs("umount", mountpoint).returncode == 0


def test_mount_helper_wants_two_places() -> None:
    done = run(sys.executable, "-c", _HELPER, "/only-one")
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: mount.storefs SOURCE MOUNTPOINT" in done.stderr
