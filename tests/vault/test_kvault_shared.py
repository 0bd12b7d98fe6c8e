"""KVaults of many threads and processes, and the files that they leave."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import apsw
import pytest

from storefs.vault import Damaged, InvalidArgument, IoError, KohakuVaultError, KVault
from tests.vault.stored import stored

# --- many at work -----------------------------------------------------------------------------------------------------


def test_threads(vault):
    vault.enable_cache(cap_bytes=5000, flush_threshold=1000)

    def work(number):
        for turn in range(300):
            vault[f"{number}/{turn}"] = b"%d" % turn
            assert vault[f"{number}/{turn}"] == b"%d" % turn

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(vault) == 1200


def _count_up(path, turns):
    with KVault(path) as vault:
        for turn in range(turns):
            vault[f"{os.getpid()}/{turn}"] = b"x" * 100
            assert vault.get(f"{os.getpid()}/{turn}") == b"x" * 100
            if turn % 10 == 0:
                vault.delete(f"{os.getpid()}/{turn}")


def test_processes(path):
    turns = 10_000 if os.environ.get("STOREFS_SOAK") else 500
    workers = [multiprocessing.get_context("spawn").Process(target=_count_up, args=(path, turns)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    with KVault(path) as vault:
        assert len(vault) == 8 * turns * 9 // 10


def test_a_vault_goes_on_in_a_child_process(path):
    with KVault(path) as vault:
        vault.enable_cache()
        vault["parent"] = b"1"
        child = os.fork()
        if child == 0:
            try:
                assert vault.get("parent") is None, "that is the parent's to write"
                vault["child"] = b"2"
                vault.flush_cache()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert vault["child"] == b"2"
    assert stored(path) == {b"child": b"2", b"parent": b"1"}


_PUTS = """
import sys
from storefs.vault import KVault
vault = KVault(sys.argv[1])
number = 0
while True:
    vault[f"{number:06}"] = b"x" * 50
    print(number, flush=True)
    number += 1
"""


def test_what_was_put_survives_a_kill(path):
    with subprocess.Popen([sys.executable, "-c", _PUTS, str(path)], stdout=subprocess.PIPE, text=True) as program:
        seen = 0
        for line in program.stdout:
            seen = int(line)
            if seen >= 3000:
                program.send_signal(signal.SIGKILL)
                break
    with KVault(path) as vault:
        assert list(vault)[: seen + 1] == [b"%06d" % number for number in range(seen + 1)]


# --- files ------------------------------------------------------------------------------------------------------------


def test_tables_side_by_side(path):
    with KVault(path) as one, KVault(path, table='other "table"') as two:
        one["key"] = b"1"
        two["key"] = b"2"
        assert (one["key"], two["key"]) == (b"1", b"2")
        two.clear()
        assert one["key"] == b"1"


def test_in_memory():
    with KVault(":memory:") as vault:
        vault["key"] = b"value"
        copy = io.BytesIO()
        assert vault.get_to_file("key", copy) == 5


def test_reading_only(path):
    with pytest.raises(IoError):
        KVault(path, read_only=True)
    with KVault(path) as vault:
        vault["key"] = b"value"
    with KVault(path, read_only=True) as vault:
        assert vault["key"] == b"value"
        with pytest.raises(InvalidArgument, match="reading only"):
            vault["key"] = b"other"


def test_a_file_of_kohakuvault_is_read(path):
    with apsw.Connection(str(path)) as connection:
        connection.execute("CREATE TABLE kvault (id INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, value BLOB NOT NULL,"
                           " size INTEGER NOT NULL)")  # fmt: skip
        connection.execute("CREATE UNIQUE INDEX kvault_key_idx ON kvault(key)")
        connection.execute("INSERT INTO kvault (key, value, size) VALUES (?, ?, ?)", (b"key", b"value", 5))
    connection.close()
    assert stored(path) == {b"key": b"value"}
    with KVault(path) as vault:
        vault["key"] = b"longer value"
    assert stored(path) == {b"key": b"longer value"}


def test_synced_puts(path):
    with KVault(path, durability="full") as vault:
        assert vault._file._connection.execute("PRAGMA synchronous").fetchall() == [(2,)]
    with KVault(path) as vault:
        assert vault._file._connection.execute("PRAGMA synchronous").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "options",
    [
        {"page_size": 1000}, {"chunk_size": 0}, {"retries": 0}, {"table": ""}, {"table": "sqlite_x"}, {"cache_kb": -1},
        {"durability": "half"}, {"backoff_base": -1},
    ],
)  # fmt: skip
def test_options_that_cannot_be(path, options):
    with pytest.raises(InvalidArgument):
        KVault(path, **options)


@pytest.mark.parametrize("options", [{"cap_bytes": 0}, {"flush_threshold": -1}, {"flush_interval": 0}])
def test_caches_that_cannot_be(vault, options):
    with pytest.raises(InvalidArgument):
        vault.enable_cache(**options)


def test_no_vault(path):
    path.write_bytes(b"this is something else entirely" * 100)
    with pytest.raises(Damaged):
        KVault(path)
    assert path.read_bytes().startswith(b"this is")


def test_a_closed_vault(vault):
    vault.close()
    vault.close()
    with pytest.raises(KohakuVaultError, match="closed"):
        vault["key"]
