"""The vault: bytes by key, least used first, whole after a kill."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.errors import Corrupt
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
