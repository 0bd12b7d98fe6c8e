"""Archives, mounted: the tree that a real kernel shows, what it may not do, and how few requests it takes."""

import json
import os
import random
from pathlib import Path

import pytest

from storefs import wiring
from storefs.archive.routing import route_index
from storefs.metrics import Metrics
from storefs.settings import resolve
from storefs.testing.mounted import MountFailed, run_storefs
from tests.archive.archives import DAY, File, put_all, same_route
from tests.mount.places import Mounts, Place

pytestmark = pytest.mark.mount


def made_of(seed: int) -> list[File]:
    dice = random.Random(seed)
    small = [File(uid, dice.randbytes(dice.randrange(3000))) for uid in same_route("file", 300)]
    others = [File(f"{number}.txt", b"line\n" * dice.randrange(10_000)) for number in range(20)]
    return [*small, *others, File("with/slash", b"x"), File("big", dice.randbytes(3 << 20), block=1 << 20)]


async def pack(place: Place, files: list[File]) -> None:
    """Make an archive in a place."""
    settings = resolve(place.options, os.environ, None)
    store = wiring.connect(place.source, settings, Metrics())
    await put_all(store, files)
    await store.close()


def shown(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def as_shown(files: list[File]) -> dict[str, bytes]:
    return {one.uid.replace("/", "%2F"): one.content for one in files}


async def test_an_archive_is_a_tree_of_days(place: Place, mounts: Mounts, seed: int) -> None:
    files = made_of(seed)
    await pack(place, files)
    mount = mounts(Place(f"archive://{place.source}", place.options))
    assert os.listdir(mount.path) == ["20240101"]
    assert shown(mount.path / "20240101") == as_shown(files)
    requests = mount.status()["requests"]["store_requests"]
    assert "put" not in str(requests)
    status = (mount.path / "20240101" / "file").stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o444, DAY.replace(hour=0).timestamp())
    with pytest.raises(OSError, match="Read-only"):
        (mount.path / "new").write_bytes(b"x")
    with pytest.raises(OSError, match="Read-only"):
        (mount.path / "20240101" / "file").unlink()
    with (mount.path / "20240101" / "big").open("rb") as big:
        big.seek((1 << 20) - 5)
        assert big.read(10) == files[-1].content[(1 << 20) - 5 : (1 << 20) + 5]


async def test_a_second_mount_asks_for_nothing_that_the_first_one_kept(
    s3_place: Place, mounts: Mounts, seed: int
) -> None:
    files = made_of(seed)
    await pack(s3_place, files)
    mount = mounts(Place(f"archive://{s3_place.source}", s3_place.options))
    assert shown(mount.path / "20240101") == as_shown(files)
    first = sum(mount.status()["requests"]["store_requests"]["get"].values())
    assert first < len(files) / 2  # an index and a payload for each of two dozen shards; 300 files lie in one of them
    mount.umount()
    mount.remount()
    assert shown(mount.path / "20240101") == as_shown(files)
    assert "get" not in mount.status()["requests"]["store_requests"]


async def test_zones_are_one_tree(tmp_path: Path, mounts: Mounts, seed: int) -> None:
    files = made_of(seed)
    low = [one for one in files if route_index(one.uid, 8) < 128]
    high = [one for one in files if route_index(one.uid, 8) >= 128]
    await pack(Place(str(tmp_path / "low")), low)
    await pack(Place(str(tmp_path / "high")), high)
    zones = [
        {"name": name, "range": {"start": start, "end": start + 127}, "path": str(tmp_path / name)}
        for name, start in (("low", 0), ("high", 128))
    ]
    (tmp_path / "zones.json").write_text(json.dumps({"n_bits": 8, "zones": zones}))
    mount = mounts(Place(f"archive://zones:{tmp_path / 'zones.json'}"))
    assert shown(mount.path / "20240101") == as_shown(files)


async def test_the_command_mounts_archives(directory_place: Place, mountpoint: Path, seed: int) -> None:
    files = made_of(seed)[:20]
    await pack(directory_place, files)
    relative = directory_place.source.removeprefix("/")  # commands run in /
    done = run_storefs("mount", "--archive", relative, mountpoint)
    assert done.returncode == 0, done.stderr
    assert shown(mountpoint / "20240101") == as_shown(files)
    assert run_storefs("umount", mountpoint).returncode == 0


def test_what_is_no_archive_is_refused(tmp_path: Path, mounts: Mounts) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MountFailed, match="holds no shards") as failed:
        mounts(Place(f"archive://{tmp_path / 'empty'}"))
    assert failed.value.code == 3
    with pytest.raises(MountFailed, match="there is no directory"):
        mounts(Place(f"archive://{tmp_path / 'nowhere'}"))
    assert not (tmp_path / "nowhere").exists()
