"""The staging log: what was appended is found again, up to the first byte that is wrong."""

import os
import random
import struct

import pytest

from storefs.cache import staging
from storefs.cache.staging import Staging
from storefs.core.digest import digest_of
from storefs.errors import Corrupt, NoSpace
from storefs.testing.world import noise


@pytest.fixture
def open_log(tmp_path):
    opened = []

    def open_one():
        log = Staging(tmp_path)
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        log.close()


def append(log, count, seed, length=100):
    """Append records; return what ``found`` returns of them."""
    written = []
    for number in range(count):
        data = noise(f"{seed}/{number}", length)
        position = log.append(number, 10 * number, data, number)
        written.append((number, 10 * number, number, position, data))
    return written


def found(log):
    return [
        (one.ino, one.offset, one.time_ns, one.position, log.read(one.position, one.length)) for one in log.records()
    ]


def test_records_are_found_again(open_log, seed):
    written = append(open_log(), 20, seed)
    assert found(open_log()) == written


def test_records_of_earlier_versions_are_taken_over(open_log, tmp_path, seed):
    written = append(open_log(), 1, seed)
    data = noise(seed, 1000)
    fields = struct.pack("<4s4xQQQQ", b"SFW1", 7, 500, len(data), 12345)
    (path,) = tmp_path.glob("*.log")
    with path.open("ab") as file:
        at = file.tell() + 48
        file.write(fields + digest_of(fields, data)[:8] + data)
        file.write(fields + bytes(8) + data)  # not whole
    assert found(open_log()) == [*written, (7, 500, 12345, at, data)]


@pytest.mark.parametrize("cut", [1, 99, 100, 101, 130])
def test_a_torn_tail_is_cut_off_and_the_log_goes_on(open_log, tmp_path, seed, cut):
    written = append(open_log(), 5, seed)
    (path,) = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size - cut)
    again = open_log()
    assert found(again) == written[:4]
    more = append(again, 1, "more")
    assert found(open_log()) == written[:4] + more


@pytest.mark.parametrize("where", ["header", "data"])
def test_records_end_at_the_first_flipped_byte(open_log, tmp_path, seed, where):
    written = append(open_log(), 5, seed)
    (path,) = tmp_path.iterdir()
    content, dice = path.read_bytes(), random.Random(seed)
    for _ in range(30):
        number = dice.randrange(5)
        position = written[number][3]
        at = position + dice.randrange(100) if where == "data" else position - 1 - dice.randrange(48)
        damaged = bytearray(content)
        damaged[at] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        assert found(open_log()) == written[:number]


def test_garbage_behind_the_end_is_cut_off(open_log, tmp_path, seed):
    written = append(open_log(), 3, seed)
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(noise(seed, 1000))
    log = open_log()
    assert found(log) == written
    assert log.end == written[-1][3] + 100


def test_positions_below_a_skip_are_never_given_again(open_log, seed):
    log = open_log()
    written = append(log, 3, seed)
    log.skip_to(log.end - 1)
    assert log.end == written[-1][3] + 100
    log.skip_to(10_000)
    more = append(log, 2, "more")
    assert min(one[3] for one in more) > 10_000
    assert found(open_log()) == written + more


def test_segments_without_live_bytes_go(open_log, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(staging, "_SEGMENT_BYTES", 500)
    log = open_log()
    written = append(log, 20, seed)
    segments = len(list(tmp_path.iterdir()))
    assert segments > 3
    for one in written[:10]:
        log.release(one[3], 100)
    assert log.live_bytes == 1000
    assert log.drop_dead()
    assert len(list(tmp_path.iterdir())) < segments
    assert log.start > 0
    assert [one for one in found(open_log()) if one in written[10:]] == written[10:]
    assert log.read(written[15][3], 100) == written[15][4]
    assert not log.drop_dead()


def test_an_idle_log_is_emptied(open_log, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(staging, "_ROTATE_IDLE_BYTES", 500)
    log = open_log()
    for one in append(log, 10, seed):
        log.release(one[3], 100)
    end = log.end
    log.drop_dead()
    assert log.disk_bytes == 0
    assert log.end == end
    assert append(log, 1, seed)[0][3] > end


def test_a_full_disk_appends_nothing(open_log, monkeypatch, seed):
    log = open_log()
    written = append(log, 3, seed)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        with pytest.raises(NoSpace):
            log.append(9, 0, b"x" * 100, 9)
    more = append(log, 1, "more")
    assert found(open_log()) == written + more


def test_a_disk_that_fills_up_halfway_appends_nothing(open_log, monkeypatch, seed):
    log = open_log()
    written = append(log, 3, seed)
    whole = os.pwritev

    def half(fd, parts, at):
        return whole(fd, [b"".join(bytes(part) for part in parts)[:60]], at)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", half)
        patch.setattr(os, "pwrite", full)
        with pytest.raises(NoSpace):
            log.append(9, 0, b"x" * 100, 9)
    assert found(open_log()) == written


def test_a_short_write_is_completed(open_log, monkeypatch, seed):
    log = open_log()
    whole = os.pwritev
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", lambda fd, parts, at: whole(fd, [b"".join(map(bytes, parts))[:60]], at))
        written = append(log, 3, seed)
    assert found(open_log()) == written


def test_bytes_that_are_gone_are_not_made_up(open_log, tmp_path, seed):
    log = open_log()
    written = append(log, 1, seed)
    (path,) = tmp_path.iterdir()
    os.truncate(path, 60)
    with pytest.raises(Corrupt):
        log.read(written[0][3], 100)
