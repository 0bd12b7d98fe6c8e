"""The cache of a KVault: when it is written, and what becomes of it."""

import subprocess
import sys
import time

import pytest

from storefs.vault import CacheFull, KohakuVaultError, KVault
from tests.vault.stored import stored


def test_the_cache_is_written_when_enough_has_gathered(path, vault):
    vault.enable_cache(cap_bytes=100, flush_threshold=50)
    vault["a"] = bytes(40)
    assert stored(path) == {}
    vault["b"] = bytes(40)
    assert len(stored(path)) == 2


def test_the_cache_never_holds_more_than_its_cap(path, vault):
    vault.enable_cache(cap_bytes=100, flush_threshold=100)
    vault["a"] = bytes(60)
    vault["b"] = bytes(60)
    assert list(stored(path)) == [b"a"]
    vault["b"] = bytes(98)
    assert vault._cache._held._bytes <= 100
    vault["c"] = bytes(200)
    assert stored(path)[b"c"] == bytes(200)


def test_a_locked_cache_takes_no_more_than_it_can_hold(path, vault):
    vault.enable_cache(cap_bytes=100, flush_threshold=50)
    with vault.lock_cache():
        vault["a"] = bytes(60)
        with pytest.raises(CacheFull):
            vault["b"] = bytes(60)
        with pytest.raises(CacheFull):
            vault["b"] = bytes(600)
        assert stored(path) == {}
        assert vault["a"] == bytes(60)
    vault["b"] = bytes(60)
    vault.close()
    assert set(stored(path)) == {b"a", b"b"}


def test_closing_writes_a_locked_cache_too(path):
    vault = KVault(path)
    vault.enable_cache()
    with vault.lock_cache():
        vault["a"] = b"1"
        vault.close()
    assert stored(path) == {b"a": b"1"}


def test_the_cache_is_written_when_it_was_idle(path, vault):
    vault.enable_cache(flush_interval=0.05)
    vault["a"] = b"1"
    until = time.monotonic() + 30
    while not stored(path):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_flush_that_failed_is_told_of_once_and_loses_nothing(path, monkeypatch):
    monkeypatch.setattr("storefs.vault.file._BUSY_MS", 1)
    with KVault(path, backoff_base=0) as other, KVault(path, backoff_base=0) as vault:
        vault.enable_cache(flush_interval=0.02)
        other._file._connection.execute("BEGIN IMMEDIATE")
        vault["a"] = b"1"
        until = time.monotonic() + 30
        with pytest.raises(KohakuVaultError, match="busy"):  # noqa: PT012 - some time, not at a certain call
            while time.monotonic() < until:
                vault.get("a")
        other._file._connection.execute("ROLLBACK")
        while True:  # it may have failed once more before that
            try:
                assert vault["a"] == b"1"
                break
            except KohakuVaultError:
                assert time.monotonic() < until
        vault.flush_cache()
        assert other["a"] == b"1"


def test_a_cache_within_a_cache(path, vault):
    vault.enable_cache(cap_bytes=1000)
    with vault.cache(cap_bytes=500):
        vault["a"] = b"1"
    assert stored(path) == {b"a": b"1"}
    assert vault._cache.settings == (1000, 1000, None)
    with pytest.raises(RuntimeError), vault.cache():  # noqa: PT012 - it is the whole that fails
        vault["b"] = b"2"
        raise RuntimeError
    assert b"b" in stored(path)
    with vault.cache(auto_flush=False):
        vault["c"] = b"3"
    assert b"c" not in stored(path)
    vault.close()
    assert b"c" in stored(path)


def test_a_vault_that_is_let_go_writes_its_cache(path):
    vault = KVault(path)
    vault.enable_cache(flush_interval=100)
    vault["a"] = b"1"
    del vault
    assert stored(path) == {b"a": b"1"}


def test_a_program_that_ends_writes_its_cache(path):
    program = "import sys; from storefs.vault import KVault; v = KVault(sys.argv[1]); v.enable_cache(); v['a'] = b'1'"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert stored(path) == {b"a": b"1"}
