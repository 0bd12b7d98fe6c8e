"""Times to live: what counts as one, and when it is over."""

import pytest

from storefs.core import ttl


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"90s", 90),
        (b"15m", 900),
        (b"12h", 43_200),
        (b"7d", 604_800),
        (b"300", 300),
        (b"1.5h", 5400),
        (b" 2d\n", 172_800),
    ],
)
def test_durations(value, seconds):
    assert ttl.parse(value) == seconds * 1_000_000_000


@pytest.mark.parametrize(
    "value", [b"", b"soon", b"-1s", b"0", b"0d", b"7w", b"7 days", b"\xff", "٣s".encode(), b"9" * 400, b"999999d"]
)
def test_what_is_none(value):
    with pytest.raises(ValueError, match=r"duration|ascii"):
        ttl.parse(value)


def test_it_is_over_to_the_nanosecond():
    assert not ttl.is_due(5, b"2s", 2_000_000_004)
    assert ttl.is_due(5, b"2s", 2_000_000_005)
