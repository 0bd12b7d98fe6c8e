"""Commit objects: what was packed comes back, and nothing else passes."""

import random
from dataclasses import replace

import pytest

from storefs.core import commitheader
from storefs.core.commitheader import HEADER_BYTES, CommitHeader
from storefs.errors import Corrupt, StorefsError, UnknownFormat
from storefs.testing.world import noise

SEQ = 7


@pytest.fixture
def header(seed):
    parts = [noise(f"{seed}/{part}", 32) for part in range(5)]
    return CommitHeader(
        schema=1, seq=SEQ, node=3, boot=parts[0][:16], nonce=parts[1][:16], low=10, high=20, time_ns=5,
        fingerprint=parts[2][:16], previous=parts[3][:16], chain=parts[4], plain=100, stored=40,
    )  # fmt: skip


def test_round_trip(header, seed):
    body = noise(seed, 40)
    assert commitheader.parse(commitheader.pack(header, body), SEQ) == (header, body)


def test_every_flipped_byte_is_refused(header, seed):
    data = commitheader.pack(header, noise(seed, 40))
    dice = random.Random(seed)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << dice.randrange(8)
        with pytest.raises((Corrupt, UnknownFormat)):
            commitheader.parse(bytes(damaged), SEQ)


def test_every_shorter_and_longer_object_is_refused(header, seed):
    data = commitheader.pack(header, noise(seed, 40))
    for length in range(len(data)):
        with pytest.raises(Corrupt):
            commitheader.parse(data[:length], SEQ)
    with pytest.raises(Corrupt):
        commitheader.parse(data + b"\0", SEQ)


def test_noise_is_refused(seed):
    for length in (0, 1, HEADER_BYTES, 1000):
        with pytest.raises(StorefsError):
            commitheader.parse(noise(f"{seed}/{length}", length), SEQ)


def test_a_commit_under_another_number_is_refused(header, seed):
    data = commitheader.pack(header, noise(seed, 40))
    with pytest.raises(Corrupt):
        commitheader.parse(data, SEQ + 1)


def test_a_newer_format_is_told_from_damage(header, seed):
    data = bytearray(commitheader.pack(header, noise(seed, 40)))
    data[8] = commitheader.VERSION + 1
    with pytest.raises(UnknownFormat, match="update"):
        commitheader.parse(bytes(data), SEQ)


def test_a_claim_of_terabytes_is_refused(header, seed):
    body = noise(seed, 40)
    with pytest.raises(AssertionError):
        commitheader.pack(replace(header, plain=1 << 40), body)


def test_the_chain_tells_every_history_apart():
    ways = [[b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a"], [b"a", b"b", b""]]
    chains = set()
    for way in ways:
        chain = bytes(32)
        for changes in way:
            chain = commitheader.link(chain, changes)
        chains.add(chain)
    assert len(chains) == len(ways)
