"""The format, byte for byte: what is written, and what is read of shards made by hand."""

import hashlib
from pathlib import Path

import pytest

from storefs.errors import ObjectMissing, UsageError
from storefs.model import Codec
from storefs.shard.format import BigFileEntry, InlineEntry, pack_index, pack_meta
from storefs.shard.index import parse_footer, parse_header, parse_index
from storefs.shard.reader import ShardFile
from storefs.shard.writer import ShardWriter
from tests.shard import golden

FORMAT_PAGE = Path(__file__).resolve().parents[2] / "docs" / "FORMAT.md"


def test_the_golden_shard_is_written(tmp_path):
    path = tmp_path / "golden.des"
    with ShardWriter.create(path) as writer:
        content = golden.GOLDEN_CONTENT
        assert writer.append(golden.GOLDEN_NAME, content, Codec.NONE, len(content)) == 8
        assert writer.seal() == writer.end == len(golden.GOLDEN) == 78
    assert path.read_bytes() == golden.GOLDEN


def test_the_golden_shard_is_read(tmp_path):
    path = tmp_path / "golden.des"
    path.write_bytes(golden.GOLDEN)
    with ShardFile(path) as shard:
        assert shard.version == 2
        assert shard.entries == (InlineEntry("uid-123", 8, 7, Codec.NONE, 7),)
        assert shard.read(shard.find("uid-123")) == golden.GOLDEN_CONTENT


@pytest.mark.parametrize(
    ("shard_bytes", "uid", "content", "codec", "version"),
    [
        (golden.GOLDEN, "uid-123", golden.GOLDEN_CONTENT, Codec.NONE, 2),
        (golden.GOLDEN_ZSTD, "uid.txt", golden.AGAIN, Codec.ZSTD, 2),
        (golden.GOLDEN_LZ4, "uid.txt", golden.AGAIN, Codec.LZ4, 2),
        (golden.GOLDEN_OLD, "uid-123", golden.GOLDEN_CONTENT, Codec.NONE, 1),
    ],
)
def test_golden_bytes_are_read(tmp_path, shard_bytes, uid, content, codec, version):
    path = tmp_path / "golden.des"
    path.write_bytes(shard_bytes)
    with ShardFile(path) as shard:
        (entry,) = shard.entries
        assert isinstance(entry, InlineEntry)
        assert (entry.name, entry.codec, entry.size, shard.version) == (uid, codec, len(content), version)
        assert shard.read(entry) == content
        if version == 2:
            rebuilt = tmp_path / "rebuilt.des"
            payload = shard_bytes[entry.offset : entry.end]
            with ShardWriter.create(rebuilt) as writer:
                writer.append(uid, payload, codec, len(content))
                writer.seal(durable=False)
            assert rebuilt.read_bytes() == shard_bytes


def test_a_golden_big_file_is_read_and_written(tmp_path):
    path = tmp_path / "golden.des"
    path.write_bytes(golden.GOLDEN_BIG)
    with ShardFile(path) as shard:
        assert shard.entries == (BigFileEntry("uid.bin", golden.AGAIN_SHA256, len(golden.AGAIN)),)
    with ShardWriter.create(tmp_path / "written.des") as writer:
        writer.note_big_file("uid.bin", golden.AGAIN_SHA256, len(golden.AGAIN))
        writer.seal(durable=False)
    assert (tmp_path / "written.des").read_bytes() == golden.GOLDEN_BIG
    assert hashlib.sha256(golden.AGAIN).hexdigest() == golden.AGAIN_SHA256


def test_the_page_shows_the_golden_shard():
    page = "".join(FORMAT_PAGE.read_text().split())
    assert golden.GOLDEN.hex() in page


def test_every_codec_and_a_big_file_are_read(tmp_path):
    path = tmp_path / "mixed.des"
    path.write_bytes(golden.mixed())
    with ShardFile(path) as shard:
        assert [type(entry) for entry in shard.entries] == [InlineEntry] * 3 + [BigFileEntry]
        assert shard.read(shard.find("raw")) == golden.GOLDEN_CONTENT
        assert shard.read(shard.find("zażółć.txt")) == golden.TEXT
        assert shard.read(shard.find("lz4")) == golden.TEXT
        assert shard.find("zażółć.txt").metadata == {"a": 1}
        assert shard.find("lz4").metadata == {}
        big = shard.find("big")
        assert big == BigFileEntry("big", golden.BIG_SHA256, len(golden.TEXT), '{"é":[null]}'.encode())
        assert big.metadata == {"é": [None]}
        with pytest.raises(ObjectMissing, match=r"mixed\.des has no entry three"):
            shard.find("three")


def test_every_codec_and_a_big_file_are_written(tmp_path):
    path = tmp_path / "mixed.des"
    size = len(golden.TEXT)
    with ShardWriter.create(path) as writer:
        writer.append("raw", golden.GOLDEN_CONTENT, Codec.NONE, len(golden.GOLDEN_CONTENT))
        writer.append("zażółć.txt", memoryview(golden.ZSTD_FRAME), Codec.ZSTD, size, {"a": 1})
        writer.append("lz4", bytearray(golden.LZ4_FRAME), Codec.LZ4, size, {})
        writer.note_big_file("big", golden.BIG_SHA256, size, {"é": [None]})
        writer.seal(durable=False)
    assert path.read_bytes() == golden.mixed()


def test_version_1_is_read(tmp_path):
    path = tmp_path / "old.des"
    path.write_bytes(golden.old())
    with ShardFile(path) as shard:
        assert shard.version == 1
        assert shard.read(shard.find("one")) == golden.GOLDEN_CONTENT
        assert shard.read(shard.find("two")) == golden.TEXT


def test_the_version_is_found_without_the_header():
    for version, shard in ((1, golden.old()), (2, golden.mixed()), (2, golden.GOLDEN)):
        index_size = parse_footer(shard[-12:], len(shard))
        index = shard[-12 - index_size : -12]
        assert parse_header(shard[:8]) == version
        assert parse_index(index) == parse_index(index, version, len(shard)) != ()


def test_a_shard_without_entries_is_a_shard(tmp_path):
    path = tmp_path / "empty.des"
    with ShardWriter.create(path) as writer:
        assert writer.seal() == 8 + 4 + 12
    assert path.read_bytes() == golden.shard(b"", golden.index())
    assert ShardFile(path).entries == ()


def test_of_two_entries_of_a_name_the_last_counts(tmp_path):
    path = tmp_path / "twice.des"
    with ShardWriter.create(path) as writer:
        writer.append("name", b"old", Codec.NONE, 3)
        writer.append("name", b"new", Codec.NONE, 3)
        writer.seal()
    with ShardFile(path) as shard:
        assert shard.read(shard.find("name")) == b"new"


@pytest.mark.parametrize("name", ["", "x" * 65536, "\udc80"])
def test_names_that_do_not_fit_are_refused_at_once(tmp_path, name):
    with ShardWriter.create(tmp_path / "shard") as writer:
        with pytest.raises(UsageError, match="name"):
            writer.append(name, b"", Codec.NONE, 0)
        assert (writer.end, writer.entries) == (8, ())


@pytest.mark.parametrize("meta", [{"a": float("nan")}, {"a": b""}, {"a": "x" * 65536}])
def test_metas_that_do_not_fit_are_refused(meta):
    with pytest.raises(UsageError, match="meta"):
        pack_meta(meta)


def test_the_longest_name_fits():
    entry = InlineEntry("é" * 32767 + "x", 8, 0, Codec.NONE, 0)
    assert parse_index(pack_index([entry])) == (entry,)
