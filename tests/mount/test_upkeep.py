"""The upkeep by hand: storefs gc and storefs compact beside a mount that is at work."""

import json
import os
from pathlib import Path

import pytest

from storefs.testing.mounted import run_storefs
from tests.mount.places import Mounts, Place

pytestmark = pytest.mark.mount


def test_gc_and_compact(place: Place, mounts: Mounts) -> None:
    mount = mounts(place)
    options = ["-o", ",".join(f"{name}={value}" for name, value in place.options.items())] if place.options else []
    contents = {}
    for number in range(8):  # a shard each
        contents[f"{number}"] = os.urandom(200_000)
        (mount.path / f"{number}").write_bytes(contents[f"{number}"])
        mount.sync()
    shards = len([one for one in place.objects() if one.key.startswith("shards/")])
    assert shards == 8

    planned = json.loads(run_storefs("compact", place.source, "--dry-run", "--json", *options).stdout)
    assert planned["shards"] == 8
    done = run_storefs("compact", mount.path)
    assert done.returncode == 0, done.stderr
    assert "rewritten: 8 shards" in done.stdout
    mount.sync()
    for name, data in contents.items():
        assert (mount.path / name).read_bytes() == data

    assert run_storefs("gc", place.source, *options).stdout.startswith(f"{place.source}: deleted: 0 commits")
    (mount.path / "7").unlink()
    del contents["7"]
    mount.umount()  # writes a snapshot if it is worth it
    mount.start()
    swept = run_storefs("gc", mount.path, "--grace", "0s", "--json")
    assert swept.returncode == 0, swept.stderr
    for name, data in contents.items():
        assert (mount.path / name).read_bytes() == data
    mount.umount()
    mount.start()
    assert {path.name: path.read_bytes() for path in mount.path.iterdir()} == contents


def test_what_they_refuse(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run_storefs("gc", empty).returncode == 3
    assert run_storefs("compact", empty).returncode == 3
    assert list(empty.iterdir()) == [], "an empty place is not made a store"
    refused = run_storefs("gc", empty, "--grace", "soon")
    assert refused.returncode == 2
    assert "--grace takes a duration" in refused.stderr
