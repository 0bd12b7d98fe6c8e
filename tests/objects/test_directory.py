"""A directory as a store: between processes, against crashes, and within its root."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storefs.errors import ObjectMissing, StoreError, StoreFull, StoreRefused
from storefs.objects.directory import DirectoryObjects
from storefs.objects.walk import walk
from storefs.ports import Offload

PROCESSES = 4
ROUNDS = 40

CREATES = """
for number in range(rounds):
    try:
        await store.put_if_absent(f"race/{number}", me.encode())
        print(number)
    except PreconditionFailed:
        pass
"""

COUNTS = """
for _ in range(rounds):
    while True:
        tag = (await store.head("counter")).tag
        value = int(await store.get("counter"))
        if (await store.head("counter")).tag != tag:
            continue
        try:
            await store.put_if_match("counter", str(value + 1).encode(), tag)
            break
        except PreconditionFailed:
            pass
"""

PROGRAM = """
import sys
from pathlib import Path
import trio
from storefs.errors import PreconditionFailed
from storefs.objects.directory import DirectoryObjects

class Inline:
    async def run(self, function, *args):
        return function(*args)

async def main():
    root, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store = DirectoryObjects(Path(root), Inline())
    print("ready", flush=True)
    sys.stdin.readline()
BODY

trio.run(main)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path, offload: Offload) -> DirectoryObjects:
    return DirectoryObjects(root, offload)


def race(root: Path, body: str) -> list[str]:
    """Run ``body`` in several processes, released at once; return what each printed."""
    program = PROGRAM.replace("BODY", "\n".join("    " + line for line in body.splitlines()))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, root, str(number), str(ROUNDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=60)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * PROCESSES
        return printed
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_processes_that_create_have_one_winner_each(root: Path) -> None:
    wins = [set(map(int, printed.split())) for printed in race(root, CREATES)]
    assert sum(len(won) for won in wins) == ROUNDS
    assert set().union(*wins) == set(range(ROUNDS))
    for process, won in enumerate(wins):
        for number in won:
            assert (root / "race" / str(number)).read_text() == str(process)


async def test_processes_that_replace_lose_no_update(root: Path, store: DirectoryObjects) -> None:
    await store.put("counter", b"0")
    race(root, COUNTS)
    assert await store.get("counter") == str(PROCESSES * ROUNDS).encode()


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/passwd", "..", ".tmp/x", ".tmp"])
async def test_no_key_leaves_the_root_or_enters_the_hidden_folder(
    store: DirectoryObjects, root: Path, key: str
) -> None:
    (root.parent / "outside").write_bytes(b"secret")
    with pytest.raises(StoreError, match="is no key"):
        await store.get(key)
    with pytest.raises(StoreError, match="is no key"):
        await store.put(key, b"x")
    with pytest.raises(StoreError, match="is no key"):
        await store.delete([key])
    assert (root.parent / "outside").read_bytes() == b"secret"


async def test_unfinished_puts_are_never_seen_and_swept_after_a_day(root: Path, offload: Offload) -> None:
    await DirectoryObjects(root, offload).put("a", b"x")
    stale, fresh = root / ".tmp" / "put-stale", root / ".tmp" / "put-fresh"
    for path in (stale, fresh):
        path.write_bytes(b"half")
    locks = set((root / ".tmp").glob("lock-*"))
    for path in (stale, *locks):
        os.utime(path, (1, 1))
    store = DirectoryObjects(root, offload)
    assert [info.key for info in await store.list_after("")] == ["a"]
    await store.put("b", b"y")
    assert not stale.exists()
    assert fresh.exists()
    assert locks
    assert set((root / ".tmp").glob("lock-*")) >= locks
    assert [info.key for info in await store.list_after("")] == ["a", "b"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EACCES, StoreRefused),
        (errno.EROFS, StoreRefused),
        (errno.EPERM, StoreRefused),
        (errno.EIO, StoreError),
    ],
)
async def test_errors_of_the_system(
    store: DirectoryObjects, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError]
) -> None:
    await store.put("key", b"before")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    for put in (store.put("key", b"after"), store.put_if_absent("new", b"x")):
        with pytest.raises(kind) as failed:
            await put
        assert type(failed.value) is kind
        assert str(root) in str(failed.value)
    monkeypatch.undo()
    assert [info.key for info in await store.list_after("")] == ["key"]
    assert await store.get("key") == b"before"
    assert list((root / ".tmp").glob("put-*")) == []


async def test_a_key_below_another_is_refused_clearly(store: DirectoryObjects) -> None:
    await store.put("a", b"x")
    with pytest.raises(StoreError, match=r"store/a"):
        await store.put("a/b", b"x")
    await store.put("d/e", b"x")
    with pytest.raises(StoreError, match=r"store/d|\.tmp"):
        await store.put("d", b"x")
    with pytest.raises(ObjectMissing):
        await store.head("d")
    await store.delete(["d", "a/b"])
    assert [info.key for info in await store.list_after("")] == ["a", "d/e"]


async def test_a_store_removed_under_our_feet_is_made_again(store: DirectoryObjects, root: Path) -> None:
    await store.put("folder/a", b"x")
    os.rename(root, root.with_name("moved"))
    assert await store.list_after("") == []
    with pytest.raises(StoreError):
        await store.put("folder/b", b"x")
    await store.put("folder/b", b"x")
    assert [info.key for info in await store.list_after("")] == ["folder/b"]


async def test_two_versions_of_one_size_differ_in_their_tags(store: DirectoryObjects) -> None:
    tags = [await store.put("key", b"%04d" % number) for number in range(200)]
    assert len(set(tags)) == 200


def test_a_page_opens_only_the_folders_it_needs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(20):
        folder = root / "shards" / f"{day:02d}"
        folder.mkdir(parents=True)
        for number in range(5):
            (folder / f"{number}").write_bytes(b"")
    opened: list[str] = []
    scandir = os.scandir

    def recorded(path: Path) -> object:
        opened.append(str(Path(path).relative_to(root)))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", recorded)
    found = walk(root, "shards/", "shards/07/3")
    assert [next(found)[0] for _ in range(3)] == ["shards/07/4", "shards/08/0", "shards/08/1"]
    assert opened == ["shards", "shards/07", "shards/08"]
    opened.clear()
    assert [key for key, _ in walk(root, "shards/13/4", "")] == ["shards/13/4"]
    assert opened == ["shards/13"]


async def test_what_is_no_file_of_ours_is_not_listed(store: DirectoryObjects, root: Path) -> None:
    await store.put("a", b"x")
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to("/etc/passwd")
    (root / "folder").symlink_to("/etc")
    (root / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    assert [info.key for info in await store.list_after("")] == ["a"]
