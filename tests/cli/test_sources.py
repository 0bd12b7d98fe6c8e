"""Which store a command means, with which settings, and the folder in which it looks at it."""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from storefs.cli import mounted
from storefs.cli.mounted import MountPoint
from storefs.cli.sources import connected, named_mount, named_store, read_options, scratch_folder
from storefs.errors import MountpointError, NotAStore, StorefsError, UsageError
from storefs.settings import Settings, resolve

OLD_S = 3600


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("STOREFS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no configuration"))


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MountPoint:
    """A mountpoint, as far as this machine's table of mounts tells."""
    mount = MountPoint("s3://bucket/of/the/mount", tmp_path / "mnt")
    monkeypatch.setattr(mounted, "all_mounts", lambda: [mount])
    return mount


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, mount: MountPoint) -> Iterator[Callable[..., None]]:
    """Gives the mount a process that was started with these words."""
    started = []

    def start(*words: str) -> None:
        program = "import sys; print(flush=True); sys.stdin.read()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, mount.source, str(mount.path), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout.readline() == b"\n"
        monkeypatch.setattr(MountPoint, "status", lambda _self: {"pid": process.pid})

    yield start
    for process in started:
        process.communicate(timeout=30)


@pytest.fixture
def caches(tmp_path: Path) -> Path:
    return tmp_path / "caches"


def in_caches(caches: Path) -> Settings:
    return resolve({"cache_dir": str(caches)}, {}, None)


def age(folder: Path) -> None:
    then = time.time() - OLD_S
    os.utime(folder, (then, then))


# --- naming -----------------------------------------------------------------------------------------------------------


def test_a_later_option_wins():
    assert read_options(()) == {}
    assert read_options(("region=a,ro", "region=b,commit-interval=1s")) == {
        "region": "b",
        "ro": "",
        "commit_interval": "1s",
    }


def test_a_mount_is_named_by_its_mountpoint(mount, tmp_path):
    assert named_mount(str(mount.path)) == mount
    assert named_mount(str(tmp_path / "a store")) is None
    assert named_mount(mount.path.as_uri()) is None, "a URL is never a mountpoint"


@pytest.mark.parametrize("source", ["s3://bucket/prefix", "file:///place", "/place", "place"])
def test_a_source_names_itself(mount, source):
    found, settings = named_store(source, ("region=given,ro=no",), None)
    assert (found, settings.text("region")) == (source, "given")
    assert settings.flag("ro"), "nobody makes a store to look at it"


def test_a_wrong_option_is_wrong_whatever_is_named(mount, daemon):
    daemon()
    for source in ("s3://bucket", "/place", str(mount.path)):
        with pytest.raises(UsageError, match="no option 'no'"):
            named_store(source, ("no=1",), None)


def test_a_mountpoint_brings_the_settings_of_its_daemon(mount, daemon, tmp_path):
    config = tmp_path / "of the mount.toml"
    config.write_text('profile = "of its file"\nregion = "of its file"')
    daemon("-o", "endpoint_url=http://its,region=its,ro=no", "--config", str(config))
    found, settings = named_store(str(mount.path), ("region=given",), None)
    assert found == mount.source
    assert [settings.text(name) for name in ("endpoint_url", "region", "profile")] == [
        "http://its", "given", "of its file",
    ]  # fmt: skip
    assert settings.flag("ro")
    other = tmp_path / "given.toml"
    other.write_text('profile = "of the file given"')
    assert named_store(str(mount.path), (), other)[1].text("profile") == "of the file given"


def test_a_dead_daemon_leaves_it_to_the_caller(mount, monkeypatch):
    def dead(_self: MountPoint) -> dict[str, int]:
        raise MountpointError("dead")

    for status in (dead, lambda _self: {"pid": 1 << 30}):
        monkeypatch.setattr(MountPoint, "status", status)
        found, settings = named_store(str(mount.path), ("region=given",), None)
        assert (found, settings.text("region"), settings.text("endpoint_url")) == (mount.source, "given", None)


# --- reaching ---------------------------------------------------------------------------------------------------------


def test_a_store_is_closed_whatever_happens(tmp_path, monkeypatch):
    closed = []

    class Store:
        async def close(self) -> None:
            closed.append(self)

    store = Store()
    monkeypatch.setattr("storefs.wiring.connect", lambda *_: store)

    async def use(error: Exception | None) -> None:
        async with connected("place", resolve({}, {}, None)) as found:
            assert found is store
            assert closed == []
            if error is not None:
                raise error

    trio.run(use, None)
    assert closed.pop() is store
    with pytest.raises(StorefsError, match="as it was"):
        trio.run(use, StorefsError("as it was"))
    assert closed == [store]


def test_no_store_is_made(tmp_path):
    async def use() -> None:
        async with connected(*named_store(str(tmp_path / "nothing"), (), None)):
            raise AssertionError

    with pytest.raises(NotAStore, match="'ro' makes none"):
        trio.run(use)
    assert not (tmp_path / "nothing").exists()


# --- scratch folders --------------------------------------------------------------------------------------------------


def test_a_scratch_folder_is_beside_the_caches_and_goes(caches):
    with scratch_folder(in_caches(caches)) as folder:
        assert folder.parent == caches
        (folder / "replica").write_bytes(b"x")
    assert list(caches.iterdir()) == []


def test_what_killed_commands_left_goes_and_nothing_else(caches):
    for name in ("storefs-look-killed", "storefs-look-fresh", "storefs-look-used", "0123abcd"):
        (caches / name).mkdir(parents=True)
        (caches / name / "replica").write_bytes(b"x")
        if name != "storefs-look-fresh":
            age(caches / name)
    used = os.open(caches / "storefs-look-used", os.O_RDONLY)
    try:
        fcntl.flock(used, fcntl.LOCK_EX)
        with scratch_folder(in_caches(caches)) as folder:
            assert {path.name for path in caches.iterdir()} == {
                "storefs-look-fresh", "storefs-look-used", "0123abcd", folder.name,
            }  # fmt: skip
    finally:
        os.close(used)


def test_a_folder_in_use_stays_however_old_it_is(caches):
    with scratch_folder(in_caches(caches)) as first:
        age(first)
        with scratch_folder(in_caches(caches)) as second:
            assert first.is_dir()
            assert first != second


def test_without_caches_it_is_where_temporary_files_go(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    settings = in_caches(tmp_path / "file" / "caches")
    with scratch_folder(settings) as folder:
        assert folder.parent == tmp_path / "temporary"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorefsError, match=r"no place for a replica: .*; set cache_dir"), scratch_folder(settings):
        raise AssertionError
