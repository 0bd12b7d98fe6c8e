"""Widening: little for one file out of a shard, all of it for somebody who goes through, whatever the order."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefs.core.ranges import Span, SpanSet
from storefs.core.widening import Widening, place_window

KIB, MIB = 1 << 10, 1 << 20
SHARD = 64 * MIB
FILE = 16 * KIB


def fetch_all(widening, wanted):
    """Fetch files, 10 ms apart, as a cold cache does; return (requests, bytes)."""
    here, requests, total = SpanSet(), 0, 0
    for number, start in enumerate(wanted):
        if here.covers(start, start + FILE):
            continue
        window = widening.window("shard", number * 0.01)
        span = place_window(Span(start, start + FILE), window, SHARD, onward=False)
        here.add(span.start, span.end)
        requests, total = requests + 1, total + span.length
    return requests, total


def test_a_single_read_fetches_little():
    assert fetch_all(Widening(256 * KIB, 4 * MIB), [40 * MIB]) == (1, 256 * KIB)


def test_rare_reads_stay_small():
    widening = Widening(256 * KIB, 4 * MIB)
    assert {widening.window("shard", 300.0 * number) for number in range(50)} == {256 * KIB}


@pytest.mark.parametrize("order", ["shuffled", "in order"])
def test_going_through_takes_few_requests(order, seed):
    files = list(range(0, SHARD, FILE))
    if order == "shuffled":
        random.Random(seed).shuffle(files)
    requests, total = fetch_all(Widening(256 * KIB, 4 * MIB), files)
    assert requests / len(files) <= 0.01
    assert total <= 1.3 * SHARD


def test_shards_do_not_widen_each_other():
    widening = Widening(256 * KIB, 4 * MIB)
    assert {widening.window(number, 0.0) for number in range(10_000)} == {256 * KIB}
    assert len(widening._shards) == 4096


@given(st.integers(0, 1000), st.integers(1, 50), st.integers(0, 10), st.integers(0, 1100), st.booleans())
def test_a_window_covers_what_is_wanted(start, length, power, end, onward):
    wanted = Span(start, start + length)
    found = place_window(wanted, 1 << power, end, onward=onward)
    assert found.start <= wanted.start
    assert found.end >= wanted.end
    assert found.end <= max(end, wanted.end)
    assert not onward or found.start == wanted.start
