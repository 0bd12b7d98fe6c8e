"""Chunking: the same bytes give the same chunks, however they arrive and whatever stands before them."""

import random

import pytest

from storefs.core.chunking import Chunker, ChunkSizes
from storefs.testing.world import noise

SIZES = ChunkSizes(small=2048, minimum=1024, average=4096, maximum=16384)


def whole(data, sizes=SIZES):
    return list(Chunker(sizes).cut(data, final=True))


@pytest.mark.parametrize("size", [0, 1, 2048, 2049, 3000, 50_000, 1 << 20])
def test_chunks_cover_the_data_without_gaps(seed, size):
    chunks = whole(noise(seed, size))
    assert sum(length for _, length in chunks) == size
    assert [offset for offset, _ in chunks] == [sum(length for _, length in chunks[:at]) for at in range(len(chunks))]
    assert all(length <= SIZES.maximum for _, length in chunks)
    assert all(length >= SIZES.minimum for _, length in chunks[:-1])


def test_a_small_file_is_one_chunk(seed):
    assert whole(noise(seed, SIZES.small)) == [(0, SIZES.small)]


@pytest.mark.parametrize("kind", ["noise", "zeros", "text"])
def test_slices_give_the_chunks_of_the_whole(seed, kind):
    size = 300_000
    data = {"noise": noise(seed, size), "zeros": bytes(size), "text": b"line of text\n" * (size // 13)}[kind]
    dice = random.Random(seed)
    chunker, found, at = Chunker(SIZES), [], 0
    while at < len(data):
        end = min(len(data), at + dice.randrange(2 * SIZES.maximum, 5 * SIZES.maximum))
        final = end == len(data)
        start = at
        for offset, length in chunker.cut(data[start:end], final=final and end - start > SIZES.small):
            found.append((start + offset, length))
            at = start + offset + length
        if final and at < len(data):  # a short rest: cut as one piece
            found.append((at, len(data) - at))
            at = len(data)
    assert found == whole(data)


def test_nothing_final_comes_of_too_little(seed):
    assert list(Chunker(SIZES).cut(noise(seed, SIZES.minimum), final=False)) == []
    assert list(Chunker(SIZES).cut(b"", final=False)) == []


@pytest.mark.parametrize("at", [0, 50_000, 250_000])
def test_three_bytes_more_change_few_chunks(seed, at):
    data = noise(seed, 500_000)
    more = data[:at] + b"abc" + data[at:]
    before = {data[offset : offset + length] for offset, length in whole(data)}
    after = {more[offset : offset + length] for offset, length in whole(more)}
    assert len(before) > 50
    assert len(after - before) <= 8
