"""Payloads come back as they were, hostile ones cost nothing, and threads do not disturb each other."""

import random
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.errors import Corrupt, NoSpace, StorefsError
from storefs.model import Codec
from storefs.shard import codec

LINE = b"the same line again and again\n"
TEXT = LINE * 1000
FRAMES = [Codec.ZSTD, Codec.LZ4]

contents = st.one_of(
    st.binary(max_size=2000),
    st.builds(lambda piece, count: piece * count, st.binary(max_size=50), st.integers(0, 5000)),
)


@contextmanager
def peak_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@given(contents, st.sampled_from(Codec), st.sampled_from([bytes, bytearray, memoryview]))
@settings(deadline=None)
def test_content_comes_back(data, wanted, dress):
    kind, payload = codec.encode(dress(data), codec=wanted)
    assert kind in {wanted, Codec.NONE}
    assert kind is Codec.NONE or len(payload) <= len(data) * 0.97
    assert codec.decode(dress(payload), kind, len(data)) == data


def test_text_shrinks():
    kind, payload = codec.encode(TEXT)
    assert kind is Codec.ZSTD
    assert len(payload) < len(TEXT) // 10


@pytest.mark.parametrize("wanted", list(Codec))
def test_what_does_not_shrink_stays_as_it_is(seed, wanted):
    data = random.Random(seed).randbytes(100_000)
    kind, payload = codec.encode(data, codec=wanted)
    assert kind is Codec.NONE
    assert payload is data


def test_less_than_three_percent_is_not_worth_it(seed):
    noise = random.Random(seed).randbytes(100_000)
    assert codec.encode(noise + bytes(2_000))[0] is Codec.NONE
    assert codec.encode(noise + bytes(6_000))[0] is Codec.ZSTD


def test_raw_bytes_are_not_copied():
    data = bytes(1000)
    assert codec.decode(data, Codec.NONE, len(data)) is data


@pytest.mark.parametrize("wanted", list(Codec))
@pytest.mark.parametrize("wrong", [-1, 0, 1, len(TEXT) - 1, len(TEXT) + 1, len(TEXT) * 30, 1 << 62])
def test_a_wrong_size_is_corrupt(wanted, wrong):
    payload = codec.encode(TEXT, codec=wanted)[1]
    with peak_below(2 << 20), pytest.raises(Corrupt):
        codec.decode(payload, wanted, wrong)


@pytest.mark.parametrize("wanted", FRAMES)
def test_cut_and_continued_frames_are_corrupt(wanted):
    payload = codec.encode(TEXT, codec=wanted)[1]
    for cut in range(len(payload)):
        with pytest.raises(Corrupt):
            codec.decode(payload[:cut], wanted, len(TEXT))
    for more in (b"\0", payload):
        with pytest.raises(Corrupt):
            codec.decode(bytes(payload) + more, wanted, len(TEXT))


@pytest.mark.parametrize("wanted", FRAMES)
def test_a_flipped_bit_never_does_harm(wanted):
    """Some bits of a frame mean nothing; then the content is right. The digest is what tells."""
    payload = codec.encode(LINE * 20, codec=wanted)[1]
    for bit in range(len(payload) * 8):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            data = codec.decode(damaged, wanted, len(LINE) * 20)
        except Corrupt:
            continue
        assert len(data) == len(LINE) * 20


@given(st.binary(max_size=300), st.sampled_from(FRAMES), st.integers(0, 1 << 63))
@settings(deadline=None)
def test_noise_is_corrupt(data, wanted, size):
    magic = {Codec.ZSTD: b"\x28\xb5\x2f\xfd", Codec.LZ4: b"\x04\x22\x4d\x18"}[wanted]
    for payload in (data, magic + data):
        with suppress(Corrupt):
            assert len(codec.decode(payload, wanted, size)) == size


def test_frames_without_a_length_are_read():
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    for data in (TEXT, b""):
        assert codec.decode(compressor.compress(data), Codec.ZSTD, len(data)) == data
        assert codec.decode(lz4.frame.compress(data, store_size=False), Codec.LZ4, len(data)) == data


def test_a_frame_cannot_claim_memory():
    claim = 1 << 40
    zstd = b"\x28\xb5\x2f\xfd" + b"\xe0" + struct.pack("<Q", claim) + b"\x01\x00\x00"
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 << 20))
    lz4_bomb = lz4.frame.compress(bytes(64 << 20))
    with peak_below(1 << 20):
        for payload, kind in ((zstd, Codec.ZSTD), (bomb, Codec.ZSTD), (lz4_bomb, Codec.LZ4)):
            for size in (10, claim):
                with pytest.raises(Corrupt):
                    codec.decode(payload, kind, size)


def test_threads_do_not_disturb_each_other(seed):
    faults: list[BaseException] = []

    def work(number: int) -> None:
        dice = random.Random(f"{seed}/{number}")
        try:
            for _ in range(150):
                data = b"".join(dice.choice((LINE, dice.randbytes(40))) for _ in range(dice.randrange(2000)))
                kind, payload = codec.encode(data, codec=dice.choice(FRAMES))
                assert codec.decode(payload, kind, len(data)) == data
                assert codec.decompress(codec.compress(data), len(data)) == data
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


@pytest.mark.parametrize("name", ["a.jpg", "B.JPEG", "x.tar.gz", ".zst", "ł.lz4"])
def test_packed_names(name):
    assert codec.is_packed(name)


@pytest.mark.parametrize("name", ["jpg", "a.txt", "a.gz.txt", ""])
def test_other_names(name):
    assert not codec.is_packed(name)


# --- bodies and files -------------------------------------------------------------------------------------------------


@given(contents)
@settings(deadline=None)
def test_bodies_come_back(data):
    assert codec.decompress(codec.compress(data), len(data)) == data


def test_bodies_have_a_limit_and_a_checksum():
    body = codec.compress(TEXT)
    assert zstandard.get_frame_parameters(body).has_checksum
    with pytest.raises(Corrupt, match="1000 are allowed"):
        codec.decompress(body, 1000)
    with pytest.raises(Corrupt, match="damaged"):
        codec.decompress(body[:-1] + bytes([body[-1] ^ 1]), len(TEXT))
    with pytest.raises(Corrupt, match="states a length of -1"):
        codec.decompress(zstandard.ZstdCompressor(write_content_size=False).compress(TEXT), len(TEXT))


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 3_000_000])
@pytest.mark.parametrize("level", [1, 3])
def test_files_come_back(tmp_path, seed, size, level):
    dice = random.Random(seed)
    data = (dice.randbytes(size // 2) + TEXT * 100)[:size]
    plain, packed, again = tmp_path / "plain", tmp_path / "packed", tmp_path / "again"
    plain.write_bytes(data)
    assert codec.compress_file(plain, packed, level) == packed.stat().st_size
    assert codec.decompress_file(packed, again, size) == size
    assert again.read_bytes() == data


def damages(frame: bytes, dice: random.Random) -> Iterator[bytes]:
    for cut in {0, 1, 5, 1024, len(frame) - 5, *range(len(frame) - 4, len(frame)), dice.randrange(len(frame))}:
        yield frame[:cut]
    yield frame + b"\0"
    yield frame + frame
    yield frame + bytes(5000)
    for _ in range(50):
        at = dice.randrange(30, len(frame))
        yield frame[:at] + bytes([frame[at] ^ 1 << dice.randrange(8)]) + frame[at + 1 :]


def test_damaged_files_are_corrupt_and_leave_nothing(tmp_path, seed):
    dice = random.Random(seed)
    plain, packed, again = tmp_path / "plain", tmp_path / "packed", tmp_path / "again"
    plain.write_bytes(dice.randbytes(2000) + TEXT)
    codec.compress_file(plain, packed)
    for damaged in damages(packed.read_bytes(), dice):
        packed.write_bytes(damaged)
        with pytest.raises(Corrupt):
            codec.decompress_file(packed, again, 1 << 20)
        assert not again.exists()


def test_a_file_has_a_limit(tmp_path):
    plain, packed, again = tmp_path / "plain", tmp_path / "packed", tmp_path / "again"
    plain.write_bytes(bytes(1000))
    codec.compress_file(plain, packed)
    with pytest.raises(Corrupt, match="999 are allowed"):
        codec.decompress_file(packed, again, 999)
    # A frame that says 1,000 and holds more: the length of another is put into its header.
    honest, liar = codec.compress(bytes(1000)), bytearray(codec.compress(bytes(60_000)))
    assert honest[:5] == liar[:5]
    liar[5:7] = honest[5:7]
    packed.write_bytes(liar)
    with pytest.raises(Corrupt):
        codec.decompress_file(packed, again, 1 << 20)


@pytest.mark.parametrize("work", [codec.compress_file, lambda src, dst: codec.decompress_file(src, dst, 1 << 30)])
def test_a_full_disk_is_told(tmp_path, work: Callable[[Path, Path], int]):
    src, full = tmp_path / "src", tmp_path / "full"
    src.write_bytes(codec.compress(TEXT * 100))
    full.symlink_to("/dev/full")
    with pytest.raises(NoSpace, match="full"):
        work(src, full)
    assert not full.is_symlink()
    with pytest.raises(StorefsError, match="No such file"):
        work(tmp_path / "missing", tmp_path / "dst")
