"""What append returned for is in the file: after a crash, a full disk, and a write cut short."""

import errno
import os
import random
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.core.digest import chunk_id
from storefs.errors import Corrupt, NoSpace, StorefsError
from storefs.model import Codec
from storefs.shard import codec
from storefs.shard.format import InlineEntry
from storefs.shard.reader import ShardFile
from storefs.shard.writer import ShardWriter

CONTENTS = [b"first", b"", b"the same again\n" * 40, bytes(100), b"last"]


def fill(writer: ShardWriter, contents: list[bytes]) -> None:
    for data in contents:
        kind, payload = codec.encode(data)
        before = writer.end
        assert writer.append(chunk_id(data).hex(), payload, kind, len(data)) == before
        assert writer.end == before + len(payload) == os.stat(writer.path).st_size


def assert_holds(path, contents: list[bytes]) -> None:
    with ShardFile(path) as shard:
        assert [entry.name for entry in shard.entries] == [chunk_id(data).hex() for data in contents]
        assert [shard.read(entry) for entry in shard.entries] == contents


@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
@settings(deadline=None, max_examples=50)
def test_what_is_appended_is_read(tmp_path_factory, contents, durable):
    path = tmp_path_factory.mktemp("shards") / "shard.des"
    with ShardWriter.create(path) as writer:
        fill(writer, contents)
        assert writer.seal(durable) == writer.seal(durable) == path.stat().st_size
    assert_holds(path, contents)


def test_nothing_is_replaced(tmp_path):
    path = tmp_path / "shard.des"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        ShardWriter.create(path)
    assert path.read_bytes() == b"precious"


def test_resume_after_a_cut_at_any_byte(tmp_path):
    path = tmp_path / "shard.des"
    with ShardWriter.create(path) as writer:
        fill(writer, CONTENTS)
        known = writer.entries
        writer.seal()
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        left = [entry for entry in known if entry.end <= cut]
        end = max((entry.end for entry in left), default=8)
        if cut < 8:
            with pytest.raises(Corrupt, match="does not start as a shard"):
                ShardWriter.resume(path, left, end)
            continue
        with ShardWriter.resume(path, left, end) as writer:
            assert writer.end == path.stat().st_size == end
            fill(writer, [b"more"])
            writer.seal(durable=False)
        assert_holds(path, [*CONTENTS[: len(left)], b"more"])


def test_resume_does_not_invent_what_is_gone(tmp_path):
    path = tmp_path / "shard.des"
    with ShardWriter.create(path) as writer:
        fill(writer, CONTENTS)
        known, end = writer.entries, writer.end
    before = path.read_bytes()
    with pytest.raises(Corrupt, match="its payloads end at"):
        ShardWriter.resume(path, known, end + 1)
    with pytest.raises(Corrupt, match="but name ends at"):
        ShardWriter.resume(path, [InlineEntry("name", 8, end, Codec.NONE, end)], end)
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError):
        ShardWriter.resume(tmp_path / "missing", known, end)


def test_appended_bytes_survive_the_death_of_the_process(tmp_path):
    path = tmp_path / "shard.des"
    program = """if True:
        import os, pathlib, signal, sys
        from storefs.model import Codec
        from storefs.shard.writer import ShardWriter
        writer = ShardWriter.create(pathlib.Path(sys.argv[1]))
        for number in range(100):
            writer.append(f"{number}", b"%d" % number * 10, Codec.NONE, len(b"%d" % number * 10))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes()[8:] == b"".join(b"%d" % number * 10 for number in range(100))


# --- disks that take less than they are given -------------------------------------------------------------------------


def test_short_writes_are_continued(tmp_path, monkeypatch, seed):
    dice, pwrite = random.Random(seed), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[: dice.randint(1, 7)], at))
    path = tmp_path / "shard.des"
    with ShardWriter.create(path) as writer:
        fill(writer, CONTENTS)
        writer.seal()
    assert_holds(path, CONTENTS)


class Disk:
    """Takes ``room`` bytes, then answers ``number``."""

    def __init__(self, room: int, number: int) -> None:
        self.room = room
        self._number = number
        self._pwrite = os.pwrite

    def pwrite(self, fd: int, data: memoryview, at: int) -> int:
        if self.room == 0:
            raise OSError(self._number, os.strerror(self._number))
        written = self._pwrite(fd, data[: self.room], at)
        self.room -= written
        return written


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, NoSpace), (errno.EIO, StorefsError)])
@pytest.mark.parametrize("room", [0, 1, 99])
def test_a_failed_append_leaves_the_shard_as_it_was(tmp_path, monkeypatch, number, kind, room):
    path = tmp_path / "shard.des"
    with ShardWriter.create(path) as writer:
        fill(writer, CONTENTS)
        before, end = path.read_bytes(), writer.end
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", Disk(room, number).pwrite)
            with pytest.raises(kind, match=r"shard\.des") as caught:
                writer.append("name", bytes(100), Codec.NONE, 100)
            assert type(caught.value) is kind
        assert (path.read_bytes(), writer.end) == (before, end)
        fill(writer, [b"more"])
        writer.seal()
    assert_holds(path, [*CONTENTS, b"more"])


@pytest.mark.parametrize("room", [0, 1, 99])
def test_a_failed_seal_leaves_the_shard_open(tmp_path, monkeypatch, room):
    path = tmp_path / "shard.des"
    with ShardWriter.create(path) as writer:
        fill(writer, CONTENTS)
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", Disk(room, errno.ENOSPC).pwrite)
            with pytest.raises(NoSpace):
                writer.seal()
        assert path.read_bytes() == before
        fill(writer, [b"more"])
        writer.seal()
    assert_holds(path, [*CONTENTS, b"more"])


@pytest.mark.parametrize("sealed_before", [False, True])
def test_a_failed_sync_is_never_taken_back(tmp_path, monkeypatch, sealed_before):
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with ShardWriter.create(tmp_path / "shard.des") as writer:
        fill(writer, CONTENTS)
        if sealed_before:
            writer.seal(durable=False)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(StorefsError, match="cannot write"):
                writer.seal()
        for durable in (True, False):
            with pytest.raises(StorefsError, match="could not be synced before"):
                writer.seal(durable)


def test_a_shard_that_cannot_begin_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", Disk(3, errno.ENOSPC).pwrite)
    with pytest.raises(NoSpace):
        ShardWriter.create(tmp_path / "shard.des")
    assert list(tmp_path.iterdir()) == []
