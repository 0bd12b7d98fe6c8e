"""The commands fsck and df: on stores of each kind, beside mounts that write, what they print and exit with."""

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from storefs import wiring
from storefs.core import commitheader, keys, storeinfo
from storefs.core.commitheader import CommitHeader
from storefs.engine.journal import Journal, apply_commit
from storefs.metrics import Metrics
from storefs.settings import resolve
from storefs.shard import codec
from storefs.testing.mounted import Mounted, run_storefs
from storefs.testing.trees import describe, differences, make_tree
from storefs.tree import schema
from storefs.tree.tree import Tree
from tests.mount.places import Mounts, Place, succeed

pytestmark = pytest.mark.mount


def _options(place: Place) -> list[str]:
    return [word for name, value in place.options.items() for word in ("-o", f"{name}={value}")]


def _fill(mount: Mounted, seed: int, tmp_path: Path, files: int = 200) -> None:
    source = tmp_path / f"source-{seed}"
    make_tree(source, seed, files=files, biggest=300 << 10)
    succeed("cp", "-a", f"{source}/.", mount.path)
    (mount.path / "large").write_bytes(os.urandom(5 << 20))


def _fsck(place: Place, *flags: str, code: int = 0) -> dict[str, Any]:
    """Check a store and return what was found; its exit code must be ``code``."""
    done = run_storefs("fsck", place.source, *_options(place), *flags, "--json")
    assert (done.returncode, done.stderr) == (code, ""), done.stdout
    document: dict[str, Any] = json.loads(done.stdout)
    assert sorted(document) == ["counts", "faults", "notes"]
    return document


def _shards(place: Place) -> list[str]:
    return [info.key for info in place.objects() if info.key.startswith("shards/")]


def test_a_clean_store(place: Place, mounts: Mounts, tmp_path: Path, seed: int) -> None:
    mount = mounts(place)
    _fill(mount, seed, tmp_path)
    mount.umount()
    before = place.objects()
    found = _fsck(place, "--data", "--repair")
    assert (found["faults"], found["notes"]) == ([], [])
    assert found["counts"]["bytes_read"] >= 5 << 20
    assert place.objects() == before
    people = run_storefs("fsck", place.source, *_options(place), "--data")
    assert people.returncode == 0
    assert people.stdout.startswith(f"{place.source}: clean; {found['counts']['commits']} commits up to number ")
    assert list((tmp_path / "caches").iterdir()) == [], "the replica is gone"


def test_damage_and_exit_codes(directory_place: Place, mounts: Mounts, tmp_path: Path, seed: int) -> None:
    place = directory_place
    assert run_storefs("fsck", place.source).returncode == 3
    Path(place.source).mkdir()
    assert run_storefs("fsck", place.source).returncode == 3
    assert run_storefs("df", place.source).returncode == 3
    assert run_storefs("fsck", place.source, "-o", "no=1").returncode == 2
    assert place.objects() == [], "looking at it makes no store"
    mount = mounts(place)
    _fill(mount, seed, tmp_path)
    mount.umount()
    shard = Path(place.source) / _shards(place)[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert _fsck(place)["faults"] == []
    (fault,) = _fsck(place, "--data", code=1)["faults"]
    assert shard.stem in fault
    people = run_storefs("fsck", place.source, "--data", "--repair")
    assert people.returncode == 1
    assert f"fault: {fault}\n" in people.stdout
    assert ") cannot be read at bytes " in people.stdout
    assert people.stdout.splitlines()[-1].startswith(f"{place.source}: 1 faults; ")
    shard.unlink()
    (fault,) = _fsck(place, code=1)["faults"]
    assert fault.startswith(f"{shard.relative_to(place.source)} is missing")
    newest = max(info.key for info in place.objects() if info.key.startswith("journal/"))
    (Path(place.source) / newest).write_bytes(b"STOREFSJ")
    assert [fault for fault in _fsck(place, code=1)["faults"] if fault.startswith(newest)]


@pytest.mark.s3
def test_a_store_that_cannot_be_reached(s3_place: Place) -> None:
    bad = {**s3_place.options, "endpoint_url": "http://127.0.0.1:1", "store_deadline": "1s"}
    for command in ("fsck", "df"):
        assert run_storefs(command, s3_place.source, *_options(Place(s3_place.source, bad))).returncode == 3


def test_a_mountpoint_names_its_store(place: Place, mounts: Mounts, tmp_path: Path, seed: int) -> None:
    mount = mounts(place)
    _fill(mount, seed, tmp_path)
    mount.sync()
    done = run_storefs("fsck", mount.path, "--data")  # how S3 is reached is the daemon's to know
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{place.source}: clean; ")
    by_mount = run_storefs("df", mount.path, "--json")
    by_source = run_storefs("df", place.source, *_options(place), "--json")
    assert by_mount.returncode == by_source.returncode == 0
    assert by_mount.stdout == by_source.stdout
    document = json.loads(by_source.stdout)
    found = [os.lstat(os.path.join(at, name)) for at, _, names in os.walk(mount.path) for name in names]
    sizes = {one.st_ino: one.st_size for one in found if stat.S_ISREG(one.st_mode)}
    assert (document["files"], document["logical_bytes"]) == (len(sizes), sum(sizes.values()))
    assert document["shard_bytes"] == sum(info.size for info in place.objects() if info.key.startswith("shards/"))
    text = run_storefs("df", mount.path).stdout
    for word in ("files", "chunks", "shards", "garbage", "journal", "snapshots"):
        assert f"\n  {word}" in text


@pytest.mark.timeout(200)
def test_beside_a_mount_that_writes(place: Place, mounts: Mounts, tmp_path: Path, seed: int) -> None:
    mount = mounts(place, commit_interval="100ms")
    _fill(mount, seed, tmp_path)
    ended = threading.Event()
    failures: list[OSError] = []

    def write_on() -> None:
        number = 0
        while not ended.wait(0.01):
            number += 1
            path = mount.path / f"busy-{number % 50}"
            try:
                path.write_bytes(os.urandom(number * 997 % (600 << 10)))
                if number % 3 == 0:
                    path.rename(mount.path / "moved")
                if number % 20 == 0:
                    descriptor = os.open(mount.path, os.O_RDONLY)
                    os.fsync(descriptor)
                    os.close(descriptor)
            except OSError as error:
                failures.append(error)
                return

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        seen = [_fsck(place, "--data")["counts"]["commit"] for _ in range(4)]
    finally:
        ended.set()
        writer.join()
    assert failures == []
    assert seen[0] < seen[-1], "it committed meanwhile"
    mount.umount()
    assert _fsck(place, "--data")["notes"] == []


async def _drop_index(place: Place, folder: Path) -> None:
    """Commit that no chunk lies anywhere, as no mount ever would."""
    store = wiring.connect(place.source, resolve(place.options, {}, None), Metrics())
    info = storeinfo.parse(await store.get(keys.STORE_INFO))
    tree = Tree(folder / "tree.sqlite")
    tree.plant(info)
    async for commit in Journal(store, wiring.Threads(1)).following(0):
        apply_commit(tree, commit)
    at = tree.local.position
    with tree.pending.recorded():
        tree.database.run("DELETE FROM chunk")
        tree.database.run("DELETE FROM shard")
    (changes,) = tree.pending.read(0, tree.pending.last)
    tree.close()
    body = codec.compress(changes)
    header = CommitHeader(
        schema.SCHEMA_VERSION, at.seq + 1, 77, bytes(16), b"n" * 16, 1, 1, 0, schema.fingerprint(),
        at.nonce, commitheader.link(at.chain, changes), len(changes), len(body),
    )  # fmt: skip
    await store.put_if_absent(keys.journal(header.seq), commitheader.pack(header, body))
    await store.close()


def test_an_index_that_was_lost(place: Place, mounts: Mounts, tmp_path: Path, seed: int) -> None:
    mount = mounts(place)
    _fill(mount, seed, tmp_path)
    wanted = describe(mount.path)
    mount.umount()
    assert _fsck(place, "--rebuild-index")["notes"] == ["the chunk index needs no correction"]
    trio.run(_drop_index, place, tmp_path)
    assert _fsck(place, code=1)["faults"]
    found = _fsck(place, "--rebuild-index", "--data")
    assert [note for note in found["notes"] if "rows of the chunk index" in note]
    assert _fsck(place, "--data")["faults"] == []
    mount.remount(new_cache=True)
    assert differences(wanted, describe(mount.path)) == []
