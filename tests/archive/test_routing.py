"""Routes: where a file belongs, as Data Easy Store says it, and what the names of shards say."""

import random
import zlib
from datetime import UTC, datetime, timedelta, timezone

import pytest

from storefs.archive.routing import (
    Route,
    ShardName,
    big_file_key,
    check_n_bits,
    check_uid,
    hex_width,
    parse_time,
    route,
    route_index,
    shard_name,
)
from storefs.errors import UsageError

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("n_bits", [4, 5, 8, 12, 16])
def test_decimal_uids_are_routed_by_their_value(n_bits: int, seed: int) -> None:
    dice = random.Random(seed)
    for uid in ("0", "007", "255", "256", *(str(dice.randrange(10 ** dice.randrange(1, 60))) for _ in range(200))):
        assert route_index(uid, n_bits) == int(uid) % 2**n_bits


def test_other_uids_are_routed_by_their_crc() -> None:
    for uid in ("uid-123", "1a", "-1", "1.0", " 1", "zażółć", "٣"):
        assert route_index(uid, 8) == zlib.crc32(uid.encode()) % 256


def test_a_long_decimal_uid_costs_no_more() -> None:
    assert route_index("9" * 1_000_000, 8) == int("9" * 8) % 256


def test_the_day_is_that_of_utc() -> None:
    east = timezone(timedelta(hours=9))
    assert route("1", datetime(2024, 1, 1, 8, 59, tzinfo=east), 8) == Route("20231231", "01")
    assert route("1", datetime(2024, 1, 1, 9, tzinfo=east), 8) == Route("20240101", "01")
    assert route("1", datetime(2024, 1, 1, 23, 59), 8) == Route("20240101", "01")  # noqa: DTZ001 - without a zone
    assert route("1", datetime(33, 1, 1, tzinfo=UTC), 8).day == "00330101"


@pytest.mark.parametrize(("n_bits", "width", "name"), [(4, 1, "7"), (5, 2, "17"), (8, 2, "77"), (9, 3, "177")])
def test_a_route_has_a_name_of_fixed_width(n_bits: int, width: int, name: str) -> None:
    assert hex_width(n_bits) == width
    found = route("375", NOON, n_bits)
    assert (found.hex, found.index, found.prefix) == (name, 375 % 2**n_bits, f"20240101_{name}_")
    assert len(route("0", NOON, n_bits).hex) == width


def test_names_of_shards_are_read_as_they_are_written() -> None:
    for number in (0, 7, 9999, 10_000, 123_456):
        name = ShardName(Route("20240101", "0F"), number)
        assert shard_name(name.key) == name
    assert ShardName(Route("20240101", "0F"), 7).key == "20240101_0F_0007.des"
    assert big_file_key("ab") == "_bigFiles/ab"


@pytest.mark.parametrize(
    "key",
    [
        "20240101_0f_0000.des",
        "20240101_0F_000.des",
        "20240101_0F_00007.des",
        "2024011_0F_0000.des",
        "20240101_0F_0000.des.tmp",
        "a/20240101_0F_0000.des",
        "20240101_0F_0000.des\n",
        "_bigFiles/ab",
        "store.json",
        "",
    ],
)
def test_other_names_are_of_no_shard(key: str) -> None:
    assert shard_name(key) is None


def test_shards_are_ordered_by_their_number() -> None:
    names = [ShardName(Route("20240101", "0F"), number) for number in (10_000, 9999, 2)]
    assert [name.number for name in sorted(names)] == [2, 9999, 10_000]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2024-01-01T12:00:00Z", NOON),
        ("2024-01-01T12:00:00", NOON),
        ("2024-01-01T14:00:00.000+02:00", NOON),
        ("2024-01-01", NOON.replace(hour=0)),
    ],
)
def test_times_are_read(text: str, found: datetime) -> None:
    assert parse_time(text) == found
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "1704067200", "2024-13-01", "0001-01-01T00:00:00+01:00"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time such as"):
        parse_time(text)


@pytest.mark.parametrize(("uid", "complaint"), [("", "must not be empty"), ("\ud800", "must be Unicode")])
def test_uids_that_cannot_be_are_refused(uid: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        check_uid(uid)
    with pytest.raises(UsageError, match=complaint):
        route(uid, NOON, 8)


@pytest.mark.parametrize("n_bits", [-1, 0, 3, 17])
def test_bits_have_bounds(n_bits: int) -> None:
    with pytest.raises(UsageError, match="4 to 16"):
        check_n_bits(n_bits)
