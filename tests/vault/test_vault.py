"""The vault: bytes by key, least used first, whole after a kill."""

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.errors import Corrupt, NoSpace
from storefs.vault.vault import Vault

keys = st.binary(min_size=1, max_size=3)
steps = st.lists(st.one_of(st.tuples(keys, st.binary(max_size=50)), st.tuples(keys, st.none())), max_size=30)


@pytest.fixture
def vault(tmp_path):
    vault = Vault(tmp_path / "vault.sqlite")
    yield vault
    vault.close()


@given(plan=steps, prefix=st.binary(max_size=2))
@settings(max_examples=50, deadline=None)
def test_it_is_a_map(tmp_path_factory, plan, prefix):
    path = tmp_path_factory.mktemp("vault") / "vault.sqlite"
    vault, model = Vault(path), {}
    for key, value in plan:
        if value is None:
            vault.delete_many([key])
            model.pop(key, None)
        else:
            vault.put_many([(key, value)])
            model[key] = value
    for _ in range(2):
        assert dict(vault.prefixed(b"")) == model
        assert list(vault.prefixed(prefix)) == sorted(one for one in model.items() if one[0].startswith(prefix))
        assert vault.bytes == sum(map(len, model.values()))
        assert all(vault.get(key) == value and vault.exists(key) for key, value in model.items())
        vault.close()
        vault = Vault(path)
    vault.close()


def test_the_longest_unused_come_first(vault):
    vault.put_many([(b"p:%d" % number, bytes(number)) for number in range(5)])
    vault.put_many([(b"other", b"x")])
    vault.get(b"p:0")
    vault.exists(b"p:1")
    assert vault.least_used(b"p:", 10) == [(b"p:1", 1), (b"p:2", 2), (b"p:3", 3), (b"p:4", 4), (b"p:0", 0)]
    assert vault.least_used(b"p:", 2) == [(b"p:1", 1), (b"p:2", 2)]


def test_uses_are_remembered_over_a_restart(tmp_path):
    vault = Vault(tmp_path / "vault.sqlite")
    vault.put_many([(b"a", b"1"), (b"b", b"2")])
    vault.get(b"a")
    vault.close()
    vault = Vault(tmp_path / "vault.sqlite")
    assert vault.least_used(b"", 10) == [(b"b", 1), (b"a", 1)]
    vault.put_many([(b"c", b"3")])
    assert vault.least_used(b"", 10)[-1] == (b"c", 1)
    vault.close()


def test_puts_are_all_or_nothing(vault):
    vault.put_many([(b"a", b"1")])

    def failing():
        yield b"a", b"2"
        yield b"b", b"2"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        vault.put_many(failing())
    assert list(vault.prefixed(b"")) == [(b"a", b"1")]
    assert vault.bytes == 1


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "vault.sqlite").write_bytes(b"no database" * 10_000)
    with pytest.raises(Corrupt):
        Vault(tmp_path / "vault.sqlite")


def test_damage_under_an_open_vault_is_said(tmp_path):
    path = tmp_path / "vault.sqlite"
    vault = Vault(path)
    vault.put_many((b"%05d" % number, bytes(1000)) for number in range(2000))
    vault.close()
    length = path.stat().st_size
    vault = Vault(path)
    with path.open("r+b") as file:
        file.seek(16384 * 3)
        file.write(b"\xff" * (length - 16384 * 3))
    with pytest.raises(Corrupt):
        vault.get(b"01000")
    with pytest.raises(Corrupt):
        vault.exists(b"01000")
    with pytest.raises(Corrupt):
        vault.put_many([(b"01000", b"x")])


def test_a_full_disk_takes_nothing(vault):
    vault.put_many([(b"a", b"1")])
    vault._file.table._connection.execute("PRAGMA max_page_count = 8").fetchall()
    with pytest.raises(NoSpace):
        vault.put_many([(b"b", bytes(1 << 20)), (b"c", bytes(1 << 20))])
    assert vault.bytes == 1
    assert list(vault.prefixed(b"")) == [(b"a", b"1")]


@pytest.mark.parametrize("length", [3, 5 << 20])
def test_many_values_are_read_page_by_page(vault, monkeypatch, length):
    monkeypatch.setattr("storefs.vault.vault._PAGE_KEYS", 3)
    items = [(b"p:%d" % number, b"%d" % number + bytes(length)) for number in range(7)]
    vault.put_many([*items, (b"other", b"x")])
    assert list(vault.prefixed(b"p:")) == items
    assert all(vault.get(key) == value for key, value in items)


@pytest.fixture
def old(tmp_path):
    """A vault as it was laid out before it had the layout of KVault."""
    path = tmp_path / "vault.sqlite"
    connection = apsw.Connection(str(path))
    connection.execute(
        """PRAGMA page_size = 16384; PRAGMA journal_mode = WAL;
        CREATE TABLE vault (
            key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL, size INTEGER NOT NULL, used INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX vault_use ON vault (used, size);"""
    ).fetchall()
    rows = [(b"chunk:a", bytes(200_000), 200_000, 2), (b"chunk:b", b"held", 4, 1), (b"parts:c", b"span", 4, 3)]
    connection.executemany("INSERT INTO vault VALUES (?, ?, ?, ?)", rows)
    connection.close()
    return path


def test_a_vault_of_the_old_layout_is_used_as_it_is(old):
    vault = Vault(old)
    assert vault.bytes == 200_008
    assert vault.least_used(b"chunk:", 10) == [(b"chunk:b", 4), (b"chunk:a", 200_000)]
    assert (vault.get(b"chunk:a"), vault.get(b"chunk:b")) == (bytes(200_000), b"held")
    vault.put_many([(b"chunk:d", b"new"), (b"parts:c", b"longer")])
    vault.delete_many([b"chunk:a"])
    vault.close()
    vault = Vault(old)
    assert dict(vault.prefixed(b"")) == {b"chunk:b": b"held", b"chunk:d": b"new", b"parts:c": b"longer"}
    assert [key for key, _ in vault.least_used(b"", 10)] == [b"chunk:b", b"chunk:d", b"parts:c"]
    assert vault.bytes == 13
    vault.close()
