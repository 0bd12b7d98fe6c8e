"""Shards made by hand, field by field, so that the code under test has no part in them."""

import hashlib
import struct

import lz4.frame
import zstandard

GOLDEN = bytes.fromhex(
    "4445533202000000"  # magic, version 2, reserved
    "66696c6520310a"  # the payload
    "01000000"  # one entry
    "07007569642d31323300"  # name, flags
    "0800000000000000070000000000000000"  # offset, length, codec
    "0700000000000000070000000000000000000000"  # compressed size, uncompressed size, meta length
    "444553493300000000000000"  # magic, index size
)
GOLDEN_NAME = "uid-123"
GOLDEN_CONTENT = b"file 1\n"

AGAIN = b"again and again and again\n" * 2
AGAIN_SHA256 = "f1ac07e6385eac889dbaedbdb91f0283a4f0ae867a4ed881cf0713930048aed0"

# Whole shards of one entry, as bytes that no library of today has a part in.
GOLDEN_ZSTD = bytes.fromhex(
    "4445533202000000"
    "28b52ffd2034b5000060616761696e20616e64200a0a0300608399dd6d5790"
    "01000000"
    "07007569642e74787400"
    "08000000000000001f00000000000000"
    "011f00000000000000340000000000000000000000"
    "444553493300000000000000"
)
GOLDEN_LZ4 = bytes.fromhex(
    "4445533202000000"
    "04224d186c403400000000000000ab1d000000ab616761696e20616e64200a001b0a1000b020616e6420616761696e0a00000000a6e3244a"
    "01000000"
    "07007569642e74787400"
    "08000000000000003800000000000000"
    "023800000000000000340000000000000000000000"
    "444553493300000000000000"
)
GOLDEN_BIG = bytes.fromhex(
    "4445533202000000"
    "01000000"
    "07007569642e62696e01"
    "4000"
    "6631616330376536333835656163383839646261656462646239316630323833613466306165383637613465643838316366303731333933"
    "3030343861656430"
    "340000000000000000000000"
    "444553495c00000000000000"
)
GOLDEN_OLD = bytes.fromhex(
    "4445533201000000"
    "66696c6520310a"
    "01000000"
    "07007569642d313233"
    "08000000000000000700000000000000"
    "0007000000000000000700000000000000"
    "444553492e00000000000000"
)

TEXT = b"the same line again and again\n" * 100
ZSTD_FRAME = zstandard.ZstdCompressor(level=1).compress(TEXT)
LZ4_FRAME = lz4.frame.compress(TEXT)
BIG_SHA256 = hashlib.sha256(TEXT).hexdigest()


def header(version: int = 2) -> bytes:
    return b"DES2" + bytes([version, 0, 0, 0])


def inline(name: bytes, offset: int, stored: int, codec: int, size: int, meta: bytes = b"") -> bytes:
    fields = struct.pack("<QQBQQI", offset, stored, codec, stored, size, len(meta))
    return struct.pack("<H", len(name)) + name + b"\x00" + fields + meta


def old_inline(name: bytes, offset: int, stored: int, codec: int, size: int) -> bytes:
    return struct.pack("<H", len(name)) + name + struct.pack("<QQBQQ", offset, stored, codec, stored, size)


def big_file(name: bytes, sha256: bytes, size: int, meta: bytes = b"") -> bytes:
    digest = struct.pack("<H", len(sha256)) + sha256
    return struct.pack("<H", len(name)) + name + b"\x01" + digest + struct.pack("<QI", size, len(meta)) + meta


def index(*entries: bytes) -> bytes:
    return struct.pack("<I", len(entries)) + b"".join(entries)


def shard(payloads: bytes, index_bytes: bytes, version: int = 2) -> bytes:
    return header(version) + payloads + index_bytes + b"DESI" + struct.pack("<Q", len(index_bytes))


def mixed() -> bytes:
    """A raw, a zstd and an lz4 payload and a big file, with and without meta."""
    raw, zstd, lz4_ = GOLDEN_CONTENT, ZSTD_FRAME, LZ4_FRAME
    at_zstd = 8 + len(raw)
    at_lz4 = at_zstd + len(zstd)
    entries = index(
        inline(b"raw", 8, len(raw), 0, len(raw)),
        inline("zażółć.txt".encode(), at_zstd, len(zstd), 1, len(TEXT), b'{"a":1}'),
        inline(b"lz4", at_lz4, len(lz4_), 2, len(TEXT)),
        big_file(b"big", BIG_SHA256.encode(), len(TEXT), '{"é":[null]}'.encode()),
    )
    return shard(raw + zstd + lz4_, entries)


def old() -> bytes:
    """Two payloads in version 1."""
    entries = index(
        old_inline(b"one", 8, len(GOLDEN_CONTENT), 0, len(GOLDEN_CONTENT)),
        old_inline(b"two", 8 + len(GOLDEN_CONTENT), len(ZSTD_FRAME), 1, len(TEXT)),
    )
    return shard(GOLDEN_CONTENT + ZSTD_FRAME, entries, version=1)
