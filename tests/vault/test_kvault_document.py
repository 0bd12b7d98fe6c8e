"""Every example of KohakuVault's document, unchanged but for the import, and made to end."""

import io
import itertools

import pytest

from storefs.vault import DatabaseBusy, InvalidArgument, IoError, KVault, NotFound


def test_the_constructors_defaults(tmp_path):
    vault = KVault(
        str(tmp_path / "data.db"),
        chunk_size=1048576,
        retries=4,
        backoff_base=0.02,
        table="kvault",
        enable_wal=True,
        page_size=32768,
        mmap_size=268435456,
        cache_kb=100000,
    )
    vault.close()
    vault = KVault(tmp_path / "data.db", 1048576, 4, 0.02, "kvault", True, 32768, 268435456, 100000)
    vault.close()


@pytest.mark.parametrize("options", [
    {"page_size": 8192, "mmap_size": 1024 * 1024 * 1024, "cache_kb": 200000},
    {"page_size": 65536, "chunk_size": 4 * 1024 * 1024, "cache_kb": 50000},
])  # fmt: skip
def test_tuning(tmp_path, options):
    with KVault(tmp_path / "data.db", **options) as vault:
        vault["key"] = b"value"
        assert vault["key"] == b"value"


def test_put(vault):
    image_bytes = b"\x89PNG"
    vault.put("user:123", b"profile data")
    vault.put(b"\x00\x01", image_bytes)
    assert vault.get("user:123") == b"profile data"
    assert vault.get(b"\x00\x01") == image_bytes


def test_put_file_and_get_to_file(vault, tmp_path):
    content = bytes(range(256)) * 40_000
    (tmp_path / "large_video.mp4").write_bytes(content)
    with (tmp_path / "large_video.mp4").open("rb") as f:
        vault.put_file("video:123", f)
    with (tmp_path / "large_video.mp4").open("rb") as f:
        vault.put_file("file:456", f, chunk_size=4 * 1024 * 1024)
    with (tmp_path / "output.mp4").open("wb") as f:
        bytes_written = vault.get_to_file("video:123", f)
    assert bytes_written == len(content)
    assert (tmp_path / "output.mp4").read_bytes() == content == vault["file:456"]


def test_get(vault):
    vault["user:123"] = b"data"
    assert vault.get("user:123") == b"data"
    assert vault.get("missing") is None
    assert vault.get("missing", b"fallback") == b"fallback"


def test_delete_and_exists(vault):
    vault["user:123"] = b"data"
    assert vault.exists("user:123")
    assert vault.delete("user:123") is True
    assert vault.delete("missing") is False
    assert not vault.exists("user:123")


def test_indexing(vault):
    vault["user:123"] = b"new data"
    data = vault["user:123"]
    assert data == b"new data"
    assert "user:123" in vault
    del vault["user:123"]
    assert "user:123" not in vault
    with pytest.raises(KeyError):
        vault["user:123"]
    with pytest.raises(KeyError):
        del vault["user:123"]


def test_mapping_methods(vault, capsys):
    vault.update({"k1": b"v1", "k2": b"v2"})
    assert len(vault) == 2
    for key in vault.keys():  # noqa: SIM118 - as it is written there
        print(key)
    for value in vault.values():
        print(len(value))
    for key, value in vault.items():
        print(f"{key}: {len(value)} bytes")
    for key in vault:
        print(key)
    assert len(capsys.readouterr().out.splitlines()) == 8
    assert vault.get("key", default=b"") == b""
    assert vault.pop("k1") == b"v1"
    assert vault.setdefault("key", b"default") == b"default"
    assert vault.setdefault("key", b"other") == b"default"
    vault.clear()
    assert len(vault) == 0


def test_the_cache_as_a_context_manager(vault):
    data = b"x" * 100
    with vault.cache():
        vault["key"] = data
    with vault.cache(cap_bytes=64 * 1024 * 1024):
        for i in range(10000):
            vault[f"key:{i}"] = data
    assert len(vault) == 10001


def test_the_cache_with_a_daemon_thread(vault):
    readings = itertools.count()
    vault.enable_cache(cap_bytes=64 * 1024 * 1024, flush_threshold=16 * 1024 * 1024, flush_interval=5.0)
    for _ in range(3):
        vault["sensor_data"] = b"%d" % next(readings)
    vault.disable_cache()
    assert vault["sensor_data"] == b"2"


def test_the_cache_by_hand(vault):
    vault.enable_cache(cap_bytes=64 * 1024 * 1024, flush_threshold=16 * 1024 * 1024)
    for i in range(10000):
        vault[f"key:{i}"] = b"data"
    assert vault.flush_cache() == 10000
    vault.disable_cache()
    vault.enable_cache()
    vault["key"] = b"data"
    vault.flush_cache()
    vault.disable_cache()


def test_a_locked_cache(vault):
    vault.enable_cache(flush_interval=5.0)
    with vault.lock_cache():
        vault["config:part1"] = b"data1"
        vault["config:part2"] = b"data2"
        assert vault.flush_cache() == 0
    assert vault.flush_cache() == 2


def test_maintenance(vault):
    vault.optimize()
    vault.close()


def test_a_vault_as_a_context_manager(tmp_path):
    with KVault(tmp_path / "data.db") as vault:
        vault.enable_cache()
        vault["key"] = b"value"
    with KVault(tmp_path / "data.db") as vault:
        assert vault["key"] == b"value"


def test_not_found(vault):
    with pytest.raises(NotFound) as caught:
        vault["missing_key"]
    assert caught.value.key == "missing_key"
    with pytest.raises(NotFound):
        vault.get_to_file("missing", io.BytesIO())


def test_invalid_argument(vault):
    with pytest.raises(InvalidArgument, match="str or bytes, not int"):
        vault[123] = b"data"
    with pytest.raises(InvalidArgument, match="not str"):
        vault["key"] = "text"


def test_io_error(vault, tmp_path):
    broken_file_handle = (tmp_path / "file").open("wb+")
    broken_file_handle.close()
    vault["key"] = b"before"
    with pytest.raises(IoError):
        vault.put_file("key", broken_file_handle)
    assert vault["key"] == b"before"


def test_database_busy(tmp_path, monkeypatch):
    monkeypatch.setattr("storefs.vault.file._BUSY_MS", 1)
    with (
        KVault(tmp_path / "data.db", backoff_base=0.001) as one,
        KVault(tmp_path / "data.db", backoff_base=0.001) as two,
    ):
        one._file._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy):
            two["key"] = b"data"
        one._file._connection.execute("ROLLBACK")
        two["key"] = b"data"
        assert one["key"] == b"data"
