"""KVault: what it promises beyond the examples of its document."""

import io
import pickle
import random

import apsw
import pytest

from storefs.vault import Damaged, InvalidArgument, IoError, KVault, NotFound
from storefs.vault.parts import Parts
from storefs.vault.table import Table

# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [b"", b"\0", pickle.dumps({"a": 1}), b"\x80\x04.", b"KV\x01\x00header", bytes(range(256)) * 10]
)
def test_values_come_back_as_they_were_put(either, value):
    either["key"] = value
    assert either["key"] == value
    assert list(either.values()) == [value]


def test_buffers_are_stored_as_they_are_now(either):
    changing = bytearray(b"12")
    for key, value in {"a": changing, "b": memoryview(b"12"), "c": memoryview(b"1122")[::2]}.items():
        either[key] = value
    changing[:] = b"99"
    assert list(either.values()) == [b"12"] * 3


def test_a_str_stands_for_its_bytes(either):
    either["ä"] = b"1"
    assert either["ä".encode()] == b"1"
    assert list(either) == ["ä".encode()]


def test_it_is_a_dict(either, seed):
    """The same operations on a dict give the same."""
    dice, model = random.Random(seed), {}
    for _ in range(3000):
        key = b"%02d" % dice.randrange(40)
        value = bytes([dice.randrange(256)]) * dice.choice((0, 1, 20, 2000))
        match dice.randrange(9):
            case 0 | 1:
                either[key] = model[key] = value
            case 2:
                assert either.get(key) == model.get(key)
            case 3:
                assert either.delete(key) == (model.pop(key, None) is not None)
            case 4:
                assert either.pop(key, None) == model.pop(key, None)
            case 5:
                assert either.setdefault(key, value) == model.setdefault(key, value)
            case 6:
                assert (key in either) == (key in model)
            case 7:
                assert len(either) == len(model)
            case 8:
                some = {b"%02d" % dice.randrange(40): value for _ in range(3)}
                either.update(some)
                model.update(some)
    assert dict(either.items()) == model
    assert list(either) == sorted(model)
    assert either == model


def test_pages_of_a_prefix(either):
    for key in [b"a", b"b/1", b"b/2", b"b/3", b"b\xff", b"c", b"\xff", b"\xff\xff1"]:
        either[key] = b"<" + key
    assert list(either.keys_from("b/")) == [b"b/1", b"b/2", b"b/3"]
    assert list(either.keys_from("b/", after="b/1")) == [b"b/2", b"b/3"]
    assert list(either.keys_from(b"\xff")) == [b"\xff", b"\xff\xff1"]
    assert list(either.items_from("b/", after="b/2")) == [(b"b/3", b"<b/3")]


def test_iteration_goes_page_by_page(vault, monkeypatch):
    monkeypatch.setattr("storefs.vault.mapping._PAGE_KEYS", 7)
    names = [b"%04d" % number for number in range(50)]
    vault.put_many((name, name) for name in names)
    vault.enable_cache()
    vault["0010-"] = b"cached"
    vault["0020"] = b"newer"
    expected = sorted([*names, b"0010-"])
    assert list(vault) == expected
    assert [key for key, _ in vault.items()] == expected
    assert dict(vault.items())[b"0020"] == b"newer"
    seen = []
    for key in vault:
        seen.append(key)
        vault.delete(key)
    assert seen == expected
    assert len(vault) == 0


def test_pages_of_keys_grow_as_long_as_the_keys_are_short(vault, monkeypatch):
    limits = []
    keys_of = Table.keys

    def keys(table, prefix, after, limit):
        limits.append(limit)
        return keys_of(table, prefix, after, limit)

    monkeypatch.setattr(Table, "keys", keys)
    names = [b"%06d" % number for number in range(40_000)]
    vault.put_many((name, b"") for name in names)
    assert list(vault) == names
    assert limits == [16 << power for power in range(11)] + [16384]
    vault.clear()
    limits.clear()
    names = [b"%06d" % number + bytes(100_000) for number in range(60)]
    vault.put_many((name, b"") for name in names)
    assert list(vault) == names
    assert limits == [16] + [10] * 5


def test_a_page_costs_as_much_wherever_it_begins(vault):
    vault.put_many((b"%06d" % number, b"") for number in range(10_000))
    steps = 0

    def step():
        nonlocal steps
        steps += 1
        return False

    table = vault._file.table
    vault._file._connection.set_progress_handler(step, 10)
    counts = []
    for after in (None, b"%06d" % 9_800):
        steps = 0
        assert len(table.keys(b"", after, 100)) == len(table.items(b"", after, 100, 1 << 20)) == 100
        counts.append(steps)
    assert counts[1] < counts[0] * 2


def test_many_at_once(vault):
    assert vault.put_many({"a": b"1", "b": b"2"}) == 2
    vault.enable_cache()
    vault["c"] = b"3"
    assert vault.get_many(["c", "missing", "a"]) == {b"c": b"3", b"a": b"1"}
    with pytest.raises(InvalidArgument):
        vault.put_many([("d", b"4"), ("e", "no bytes")])
    assert "d" not in vault


@pytest.mark.parametrize("length", [10, 5000])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_of_one_key_the_last_value_counts(vault, count, length):
    items = [(b"%d" % (number % 50), b"%d" % number + bytes(length)) for number in range(count)]
    assert vault.put_many(items) == count
    assert dict(vault.items()) == dict(items)


def test_ranges(either):
    either["key"] = bytes(range(200))
    assert either.read_range("key", 10, 5) == bytes(range(10, 15))
    assert either.read_range("key", 198, 50) == bytes([198, 199])
    assert either.read_range("key", 500, 5) == b""
    assert either.read_range("key", 0, 0) == b""
    with pytest.raises(NotFound):
        either.read_range("other", 0, 1)
    with pytest.raises(InvalidArgument):
        either.read_range("key", -1, 1)


@pytest.fixture
def short_parts(monkeypatch):
    """Parts of 1000 bytes, where they have 32 MiB."""
    monkeypatch.setattr("storefs.vault.table.PART_BYTES", 1000)


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize("length", [999, 1000, 1001, 2000, 5432])
def test_values_longer_than_a_row_takes(vault, length, seed):
    value = random.Random(seed).randbytes(length)
    vault["one"] = value
    vault.put_file("two", io.BytesIO(value), chunk_size=300)
    copy = io.BytesIO()
    assert vault.get_to_file("one", copy, chunk_size=700) == length
    assert vault["one"] == vault["two"] == copy.getvalue() == value
    for offset, size in ((0, 10), (990, 20), (1990, 1500), (length - 5, 100)):
        assert vault.read_range("one", offset, size) == value[offset : offset + size]
    assert dict(vault.items()) == {b"one": value, b"two": value}
    vault["one"] = b"short"
    vault["one"] = value[::-1]
    assert vault["one"] == value[::-1]
    vault.clear()
    assert vault._file._connection.execute("SELECT count(*) FROM kvault_parts").fetchall() == [(0,)]


@pytest.mark.usefixtures("short_parts")
def test_parts_that_another_process_left_are_swept(vault, path):
    with KVault(path) as other:
        vault["long"] = bytes(3000)
        other["long"] = b"short"  # it has not seen the parts
        assert vault["long"] == b"short"
        assert vault._file._connection.execute("SELECT count(*) FROM kvault_parts").fetchall() == [(2,)]
        vault.optimize()
        assert vault._file._connection.execute("SELECT count(*) FROM kvault_parts").fetchall() == [(0,)]
        other["long"] = bytes(2500)
        assert vault["long"] == bytes(2500)


@pytest.mark.usefixtures("short_parts")
def test_a_lost_part_is_damage(vault):
    vault["key"] = bytes(3000)
    vault._file._connection.execute("DELETE FROM kvault_parts WHERE part = 2")
    with pytest.raises(Damaged):
        vault["key"]
    with pytest.raises(Damaged):
        vault.get_to_file("key", io.BytesIO())


@pytest.mark.parametrize("instead", [b"", bytes(400_000)])
@pytest.mark.parametrize("read", [
    lambda vault: vault["key"],
    lambda vault: vault.read_range("key", 0, 200_000),
    lambda vault: vault.get_many(["key"])[b"key"],
])  # fmt: skip
def test_a_value_replaced_while_it_is_read_is_the_one_before(vault, path, monkeypatch, seed, read, instead):
    places_of = Parts.places

    def places(*args):
        with KVault(path) as other:
            other["key"] = instead
        return places_of(*args)

    vault["key"] = value = random.Random(seed).randbytes(200_000)
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "places", places)
        assert read(vault) == value
    assert vault["key"] == instead


def test_long_values_take_little_memory(path):
    length, piece = 200 << 20, bytes(1 << 20)

    class Zeros:
        def read(self, wanted):
            return piece[:wanted]

    class Count:
        seen = 0

        def write(self, data):
            self.seen += len(data)

    with KVault(path, cache_kb=2000, mmap_size=0) as vault:
        apsw.memory_high_water(True)
        vault.put_file("long", Zeros(), size=length)
        count = Count()
        assert vault.get_to_file("long", count) == count.seen == length
        assert apsw.memory_high_water() < 100 << 20


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_stream_is_stored_from_where_it_stands(vault):
    stream = io.BytesIO(b"0123456789")
    stream.seek(3)
    vault.put_file("rest", stream)
    stream.seek(2)
    vault.put_file("some", stream, size=4)
    assert (vault["rest"], vault["some"]) == (b"3456789", b"2345")
    assert stream.read() == b"6789"


def test_a_stream_that_cannot_be_sought(vault):
    class Pipe:
        def __init__(self, data):
            self._inner = io.BytesIO(data)

        def read(self, length):
            return self._inner.read(min(length, 7))

    vault.put_file("all", Pipe(b"x" * 1000))
    vault.put_file("some", Pipe(b"x" * 1000), size=100)
    assert (len(vault["all"]), len(vault["some"])) == (1000, 100)
    with pytest.raises(IoError, match="900 bytes early"):
        vault.put_file("some", Pipe(b"x" * 100), size=1000)
    assert len(vault["some"]) == 100


def test_a_text_file_is_refused(vault, tmp_path):
    (tmp_path / "text").write_text("text")
    with (tmp_path / "text").open() as file, pytest.raises(InvalidArgument, match="binary mode"):
        vault.put_file("key", file)


def test_nobody_waits_for_a_slow_reader_of_a_value(vault):
    vault["long"] = bytes(10_000)
    seen = []

    class Slow:
        def write(self, data):
            vault["long"] = b"new"  # over the main connection, while this one reads
            seen.append(len(data))

    assert vault.get_to_file("long", Slow(), chunk_size=4000) == 10_000
    assert seen == [4000, 4000, 2000]
    assert vault["long"] == b"new"


def test_a_writer_that_fails(vault):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    vault["key"] = b"value"
    with pytest.raises(IoError, match="No space"):
        vault.get_to_file("key", Full())
