"""Proofs: what is written into the meta is what is found there, and what is no proof is not taken for one."""

import base64
import random

import pytest

from storefs.archive import proof
from storefs.archive.proof import Blocks
from storefs.core.digest import digest
from storefs.errors import Corrupt
from storefs.model import Codec
from storefs.shard.format import BigFileEntry, InlineEntry, pack_meta

CONTENT = b"content"


def inline(meta: bytes) -> InlineEntry:
    return InlineEntry("uid", 8, len(CONTENT), Codec.NONE, len(CONTENT), meta)


def big(size: int, meta: bytes) -> BigFileEntry:
    return BigFileEntry("uid", "0" * 64, size, meta)


@pytest.mark.parametrize("more", [{}, {"seal": "x"}, {"zażółć": [None]}])
def test_a_digest_is_found_whatever_else_is_there(more: dict[str, object]) -> None:
    entry = inline(pack_meta(proof.inline_meta(digest(CONTENT)) | more))
    assert proof.digest_of(entry) == digest(CONTENT)
    proof.check(entry, CONTENT, "shard")
    with pytest.raises(Corrupt, match="shard, entry uid at 8: the content does not match"):
        proof.check(entry, b"c0ntent", "shard")


def test_entries_of_others_have_no_digest() -> None:
    for meta in (b"", b"{}", b'{"sha256":"ab"}'):
        assert proof.digest_of(inline(meta)) is None
        assert proof.blocks_of(big(1, meta)) is None
        proof.check(inline(meta), b"anything", "shard")


@pytest.mark.parametrize("stated", ['""', '"ab"', f'"{"x" * 64}"', "17", "[1]", "{}"])
def test_what_is_no_digest_is_corrupt(stated: str) -> None:
    with pytest.raises(Corrupt, match="is not a digest"):
        proof.digest_of(inline(f'{{"blake3":{stated}}}'.encode()))


@pytest.mark.parametrize("size", [0, 1, 1000, 1001, 4096])
def test_blocks_are_found_as_they_were_written(size: int, seed: int) -> None:
    content = random.Random(seed).randbytes(size)
    digests = tuple(digest(content[at : at + 1000]) for at in range(0, size, 1000))
    assert proof.blocks_of(big(size, pack_meta(proof.blocks_meta(1000, digests)))) == Blocks(1000, digests)


@pytest.mark.parametrize(
    "stated",
    [
        17,
        {},
        {"size": 1000},
        {"size": 0, "digests": ""},
        {"size": -1000, "digests": base64.b64encode(bytes(64)).decode()},
        {"size": "1000", "digests": base64.b64encode(bytes(64)).decode()},
        {"size": 1000, "digests": "?"},
        {"size": 1000, "digests": base64.b64encode(bytes(32)).decode()},
        {"size": 1000, "digests": base64.b64encode(bytes(65)).decode()},
    ],
)
def test_blocks_that_do_not_fit_are_corrupt(stated: object) -> None:
    with pytest.raises(Corrupt, match="do not fit its 2000 bytes"):
        proof.blocks_of(big(2000, pack_meta({"blake3_blocks": stated})))


@pytest.mark.parametrize("size", [1, 10 << 20, 4 << 30, (4 << 30) + 1, 5 << 40, (1 << 63) - 1])
def test_the_digests_of_any_file_have_room(size: int) -> None:
    length = proof.block_bytes(size)
    count = -(-size // length)
    assert length % (4 << 20) == 0
    assert count <= 1024
    packed = pack_meta(proof.blocks_meta(length, [bytes(32)] * count))
    assert len(packed) <= proof.blocks_meta_bytes(size) < 50_000
