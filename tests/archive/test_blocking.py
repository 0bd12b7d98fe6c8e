"""The archive without async: the same answers, from any thread, and a clear end."""

import io
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from storefs.archive.blocking import Archive
from storefs.archive.reader import ArchiveReader
from storefs.errors import Corrupt, NotAStore, ObjectMissing, StorefsError
from storefs.objects.directory import DirectoryObjects
from storefs.ports import Offload
from tests.archive.archives import DAY, File, put_all

FILES = {f"file {number}": b"content %d" % number for number in range(60)}
BIG = bytes(range(256)) * 40


@pytest.fixture
def root(tmp_path: Path, offload: Offload) -> Path:
    store = DirectoryObjects(tmp_path / "archive", offload)
    files = [File(uid, content) for uid, content in FILES.items()]
    trio.run(put_all, store, [*files, File("big", BIG, block=1000)])
    return tmp_path / "archive"


@pytest.fixture
def archive(root: Path, offload: Offload) -> Iterator[Archive]:
    @asynccontextmanager
    async def opener() -> AsyncIterator[ArchiveReader]:
        yield ArchiveReader(DirectoryObjects(root, offload), offload)

    with Archive.open(opener) as found:
        yield found


def test_every_call_answers(archive):
    assert archive.get("file 7", DAY) == b"content 7"
    assert archive.get_range("file 7", DAY, 8) == b"7"
    assert archive.exists("file 7", DAY)
    assert not archive.exists("file 60", DAY)
    assert archive.stat("big", DAY).size == len(BIG)
    target = io.BytesIO()
    assert archive.copy_to("big", DAY, target) == len(BIG)
    assert target.getvalue() == BIG
    with pytest.raises(ObjectMissing, match="no file nobody of 20240101"):
        archive.get("nobody", DAY)
    outcomes = list(archive.get_many((uid, DAY) for uid in [*FILES, "nobody"]))
    assert {one.uid: one.content for one in outcomes} == FILES | {"nobody": None}
    assert sorted(one.uid for one in archive) == sorted([*FILES, "big"])
    assert {one.uid: content for one, content in archive.contents("20240101")} == FILES | {"big": None}
    assert list(archive.files("20240102")) == []


def test_many_threads_share_it(archive):
    with ThreadPoolExecutor(16) as pool:
        contents = list(pool.map(lambda uid: archive.get(uid, DAY), FILES))
    assert contents == list(FILES.values())


def test_who_stops_early_leaves_nothing_behind(archive):
    for _ in range(5):
        for one in archive:
            assert one.size
            break
        next(archive.get_many([(uid, DAY) for uid in FILES]))
    assert archive.get("file 1", DAY) == b"content 1"


def test_damage_ends_an_iteration(archive, root):
    path = next(iter(sorted(root.glob("*.des"))))
    body = bytearray(path.read_bytes())
    body[10] ^= 1
    path.write_bytes(body)
    with pytest.raises(Corrupt, match=path.name):
        list(archive.contents())


def test_after_the_end_nothing_looks_empty(archive):
    left = archive.files()
    next(left)
    archive.close()
    archive.close()
    with pytest.raises(StorefsError, match="is closed"):
        list(left)
    for call in (lambda: archive.get("file 1", DAY), lambda: list(archive), lambda: archive.exists("file 1", DAY)):
        with pytest.raises(StorefsError, match="is closed"):
            call()


def test_what_is_under_way_ends_with_it(root, offload):
    asked = threading.Event()

    class Silent(DirectoryObjects):
        async def list_after(self, prefix: str, after: str = "", limit: int = 1000):
            asked.set()
            await trio.sleep_forever()

    @asynccontextmanager
    async def opener() -> AsyncIterator[ArchiveReader]:
        yield ArchiveReader(Silent(root, offload), offload)

    archive = Archive.open(opener)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(archive.get, "file 1", DAY)
        assert asked.wait(30)
        archive.close()
        with pytest.raises(StorefsError, match="is closed"):
            waiting.result(30)


def test_what_cannot_be_opened_says_so():
    @asynccontextmanager
    async def opener() -> AsyncIterator[ArchiveReader]:
        raise NotAStore("no such place")
        yield

    before = threading.active_count()
    with pytest.raises(NotAStore, match="no such place"):
        Archive.open(opener)
    assert threading.active_count() == before
