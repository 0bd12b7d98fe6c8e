"""Direct I/O: the right bytes, in memory that nobody else gets while somebody looks at it."""

import errno
import mmap
import os
import random
import threading
from pathlib import Path

import pytest

from storefs.cache.direct import DirectIO, open_direct
from storefs.cache.lending import Memory
from storefs.testing.world import noise

SIZE = (3 << 20) + 12_345
BUFFER = 2 << 20


@pytest.fixture
def file(tmp_path, seed):
    path = tmp_path / "file"
    path.write_bytes(noise(seed, SIZE))
    return path


@pytest.fixture
def opened(file):
    fd = open_direct(file)
    yield fd
    os.close(fd)


def ranges(seed, count):
    dice = random.Random(seed)
    for _ in range(count):
        start = dice.randrange(SIZE)
        yield start, dice.randint(1, min(SIZE - start, dice.choice((10, 5_000, 70_000, SIZE))))


def test_every_range_is_read_as_it_is(file, opened, seed):
    data, reads = file.read_bytes(), DirectIO(Memory(8 << 20))
    for start, length in ranges(seed, 200):
        assert reads.read(opened, start, length) == data[start : start + length]
    assert reads.read(opened, SIZE - 1, 1) == data[-1:]
    assert reads.read(opened, 0, SIZE) == data


def test_nothing_is_read_behind_the_end(opened):
    reads = DirectIO(Memory(8 << 20))
    assert reads.read(opened, SIZE - 1, 2) is None
    assert reads.read(opened, SIZE, 1) is None
    assert reads.read(opened, SIZE + 100_000, 1) is None


@pytest.fixture
def bare(tmp_path):
    """A file of 1 MiB on a file system of which is known, by bare calls, that it reads past the page cache."""
    path = tmp_path / "bare"
    path.write_bytes(bytes(1 << 20))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("this file system has no direct I/O")
    _drop_pages(path)
    os.preadv(fd, [mmap.mmap(-1, 1 << 20)], 0)
    os.close(fd)
    if _is_cached(path):
        pytest.skip("this file system keeps all in the page cache")
    return path


def _drop_pages(path):
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_it_is_past_the_page_cache(bare):
    direct, fd = DirectIO(Memory(8 << 20)), open_direct(bare)
    _drop_pages(bare)
    assert direct.read(fd, 5, 900_000) == bytes(900_000)
    os.close(fd)
    assert not _is_cached(bare)
    memory = direct.memory(0, 1 << 20)
    memory[:] = b"x" * (1 << 20)
    _drop_pages(bare)
    direct.write(bare, 0, memory, direct=True)
    assert not _is_cached(bare)
    assert bare.read_bytes() == memory
    direct.write(bare, 0, memory, direct=False)
    assert _is_cached(bare)


def _is_cached(path):
    """Whether a page in the middle is in memory. To ask may bring it there: pages are to be dropped before the next."""
    with path.open("rb", buffering=0) as file:
        try:
            return os.preadv(file.fileno(), [bytearray(4096)], 512 << 10, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False


def test_memory_is_used_again_but_not_while_somebody_looks_at_it(file, opened, seed):
    data, reads, dice = file.read_bytes(), DirectIO(Memory(16 << 20)), random.Random(seed)
    kept = []
    for start, length in ranges(seed, 500):
        view = reads.read(opened, start, length)
        first = dice.randrange(length)
        kept.append((view[first:], data[start + first : start + length]))
        del view
        del kept[: -dice.randint(1, 6)]
        assert all(view == wanted for view, wanted in kept)
        assert reads.bytes <= 16 << 20
    kept.clear()
    before = reads.bytes
    for _ in range(50):
        reads.read(opened, 0, 100)
    assert reads.bytes == before


def test_when_all_memory_is_in_use_reads_are_ordinary(file, opened):
    data, reads = file.read_bytes(), DirectIO(Memory(2 * BUFFER))
    held = [reads.read(opened, at, 10) for at in range(5)]
    assert held == [data[at : at + 10] for at in range(5)]
    assert reads.bytes == 2 * BUFFER
    assert reads.read(opened, 0, SIZE) == data, "longer than all of it"
    del held
    first = reads.read(opened, 0, SIZE)
    assert first == data
    assert reads.bytes == 2 * BUFFER, "two short ones made room for a long one"


def test_what_is_lent_is_nobody_elses_and_all_of_it_comes_back(seed):
    dice, direct, held = random.Random(seed), DirectIO(Memory(64 << 20)), []
    refused = 0
    for number in range(2000):
        view = direct.memory(dice.randrange(4096), dice.randrange(256 << 10, 20 << 20))
        refused += view is None
        if view is not None:
            mark = bytes([number % 251])
            view[:1] = view[-1:] = mark
            held.append((view[:1], view[-1:], mark))
        del view
        for _ in range(dice.randrange(3)):
            if held:
                held.pop(dice.randrange(len(held)))
        assert all(first == last == mark for first, last, mark in held)
    assert 0 < refused < 2000
    held.clear()
    assert direct.bytes == 0
    assert direct.memory(0, 64 << 20) is not None, "in one piece again"


def test_memory_comes_back_from_any_thread():
    direct = DirectIO(Memory(8 << 20))
    views = [direct.memory(0, 1 << 20) for _ in range(4)]
    assert direct.lacks_memory(0, 1 << 20)
    assert not direct.lacks_memory(0, 1000), "so little is written the ordinary way"
    thread = threading.Thread(target=views.clear)
    thread.start()
    thread.join()
    assert not direct.lacks_memory(0, 8 << 20)


@pytest.mark.parametrize("where", ["open", "read"])
def test_a_file_system_without_direct_reads(file, monkeypatch, where):
    real = {"open": os.open, "read": os.preadv}

    def opening(path, flags, *rest):
        if where == "open" and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return real["open"](path, flags, *rest)

    def reading(fd, *rest):
        if _flags(fd) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return real["read"](fd, *rest)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "preadv", reading)
    fd = open_direct(file)
    try:
        assert DirectIO(Memory(8 << 20)).read(fd, 1000, 10_000) == file.read_bytes()[1000:11_000]
    finally:
        os.close(fd)


def test_other_failures_are_told(tmp_path, opened, monkeypatch):
    with pytest.raises(FileNotFoundError):
        open_direct(tmp_path / "missing")

    def broken(*_):
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(OSError, match="broken"):
        DirectIO(Memory(8 << 20)).read(opened, 0, 10)


def test_every_range_is_written_as_it_is(tmp_path, seed):
    """In any order, as parts of a shard come in; with nothing but holes between them."""
    path, direct, dice = tmp_path / "file", DirectIO(Memory(64 << 20)), random.Random(seed)
    data, wanted, direct_ones = noise(seed, SIZE), bytearray(SIZE), 0
    for start, length in ranges(seed, 120):
        memory = direct.memory(start, length) if dice.random() < 0.8 else None
        direct_ones += memory is not None
        if memory is None:
            memory = memoryview(bytearray(length))
        memory[:] = data[start : start + length]
        direct.write(path, start, memory, direct=dice.random() < 0.9)
        wanted[start : start + length] = data[start : start + length]
        there = path.read_bytes()
        assert there == wanted[: len(there)]
        assert not any(wanted[len(there) :])
    assert direct_ones
    direct.write(path, 5, data[:300_000], direct=True)
    assert path.read_bytes()[5:300_005] == data[:300_000], "bytes of any kind"


def writes(monkeypatch, handle):
    """Return the flags that files are opened with for writing; ``handle`` is called before each direct write."""
    flags, real = [], os.pwrite

    def pwrite(fd, data, offset):
        flags.append(_flags(fd) & os.O_DIRECT)
        if flags[-1]:
            handle()
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    return flags


def test_a_file_system_without_direct_writes(tmp_path, seed, monkeypatch):
    def refuse():
        raise OSError(errno.EINVAL, "no")

    flags, direct, path = writes(monkeypatch, refuse), DirectIO(Memory(64 << 20)), tmp_path / "file"
    for at in (7, 3 << 20, 6 << 20):
        memory = direct.memory(at, 1 << 20)
        memory[:] = noise(seed, 1 << 20)
        direct.write(path, at, memory, direct=True)
        assert path.read_bytes()[at:] == noise(seed, 1 << 20)
    assert not flags[-1], "the last of them went the ordinary way"


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def refuse():
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", lambda *_: refuse())
    direct = DirectIO(Memory(64 << 20))
    memory = direct.memory(0, 1 << 20)
    with pytest.raises(OSError, match="full"):
        direct.write(tmp_path / "file", 0, memory, direct=True)


def test_threads_do_not_get_each_others_memory(file, seed):
    data, reads, wrong = file.read_bytes(), DirectIO(Memory(10 << 20)), []

    def work(number):
        dice, kept = random.Random(f"{seed} {number}"), []
        for start, length in ranges(f"{seed} {number}", 150):
            fd = open_direct(file)
            kept.append((reads.read(fd, start, length), data[start : start + length]))
            os.close(fd)
            del kept[: -dice.randint(1, 4)]
            wrong.extend(1 for view, wanted in kept if view != wanted)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def _flags(fd):
    return int(Path(f"/proc/self/fdinfo/{fd}").read_text().split("flags:")[1].split()[0], 8)
