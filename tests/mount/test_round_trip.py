"""A generated tree goes in by ``cp -a`` and comes out of another mount with another cache as it was."""

import os
from pathlib import Path

import pytest

from storefs.testing.trees import describe, differences, make_tree
from tests.mount.places import Mounts, Place, run, succeed

pytestmark = pytest.mark.mount

_KIB, _MIB = 1 << 10, 1 << 20
_LARGE_FILES = 50


def _make_source(root: Path, seed: int, files: int) -> None:
    """Make a tree of many files, a few of them large: sizes spread evenly over magnitudes, so few are enough."""
    lacking = make_tree(root / "many", seed, files=files - _LARGE_FILES, biggest=256 * _KIB)
    lacking |= make_tree(root / "large", seed + 1, files=_LARGE_FILES, biggest=20 * _MIB)
    assert not lacking or os.geteuid() != 0, f"the disk of this test cannot hold {sorted(lacking)}"


def _commits(place: Place) -> int:
    return sum(thing.key.startswith("journal/") for thing in place.objects())


def _round_trip(place: Place, mounts: Mounts, tmp_path: Path, seed: int, files: int) -> None:
    source = tmp_path / "source"
    _make_source(source, seed, files)
    wanted = describe(source)
    mount = mounts(place, commit_interval="5s")
    succeed("cp", "-a", f"{source}/.", mount.path)
    mount.sync()
    mount.umount()

    mount.remount(new_cache=True)
    assert differences(wanted, describe(mount.path)) == []
    for root in (source, mount.path):  # diff cannot compare FIFOs
        succeed("find", root, "-type", "p", "-delete")
    compared = run("diff", "-r", "--no-dereference", source, mount.path)
    assert (compared.returncode, compared.stdout, compared.stderr) == (0, "", "")
    mount.umount()
    objects, commits = len(place.objects()), _commits(place)
    assert objects <= 2 * commits + 20
    assert objects < 100


@pytest.mark.timeout(300)
def test_round_trip_of_10_000_files(directory_place: Place, mounts: Mounts, tmp_path: Path, seed: int) -> None:
    _round_trip(directory_place, mounts, tmp_path, seed, files=10_000)


@pytest.mark.s3
@pytest.mark.timeout(300)
def test_round_trip_by_s3(s3_place: Place, mounts: Mounts, tmp_path: Path, seed: int) -> None:
    _round_trip(s3_place, mounts, tmp_path, seed, files=2_000)
