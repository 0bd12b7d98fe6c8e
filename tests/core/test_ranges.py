"""Ranges against sets of integers."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from storefs.core.ranges import Span, SpanSet, coalesce

spans = st.builds(lambda start, length: Span(start, start + length), st.integers(0, 60), st.integers(0, 12))


def covered(found):
    return {at for span in found for at in range(span.start, span.end)}


@given(st.lists(spans), st.integers(0, 60), st.integers(0, 20))
def test_a_set_of_spans_is_a_set_of_bytes(added, start, length):
    found = SpanSet(added)
    expected = covered(added)
    assert covered(found) == expected
    assert found.total == len(expected)
    assert found.covers(start, start + length) == expected.issuperset(range(start, start + length))


@given(st.lists(spans))
def test_spans_of_a_set_are_sorted_and_do_not_touch(added):
    found = list(SpanSet(added))
    assert all(span.length > 0 for span in found)
    assert all(one.end < two.start for one, two in itertools.pairwise(found))


@given(st.lists(spans, min_size=1), st.integers(0, 10), st.integers(1, 40))
def test_coalescing_covers_all_within_its_limits(wanted, gap, limit):
    merged = coalesce(wanted, gap, limit)
    assert covered(merged) >= covered(wanted)
    assert [one.start for one in merged] == sorted(one.start for one in merged)
    assert all(one.length <= limit or one in wanted for one in merged)
    # Nothing is fetched that is farther than the gap from what was asked for.
    asked = covered(wanted) | {at for one in wanted for at in (one.start, one.end)}
    assert all(min(abs(at - other) for other in asked) <= gap for at in covered(merged))
    # What fits together comes together.
    for one, two in itertools.pairwise(merged):
        firsts = [span for span in wanted if span.start == two.start]
        assert two.start > one.end + gap or any(max(one.end, first.end) - one.start > limit for first in firsts)


def test_coalescing_joins_neighbours():
    assert coalesce([Span(10, 20), Span(0, 8), Span(50, 60)], gap=2, limit=100) == [Span(0, 20), Span(50, 60)]
    assert coalesce([Span(0, 8), Span(10, 20)], gap=1, limit=100) == [Span(0, 8), Span(10, 20)]
    assert coalesce([Span(0, 8), Span(8, 20)], gap=2, limit=15) == [Span(0, 8), Span(8, 20)]
    assert coalesce([Span(0, 80)], gap=2, limit=15) == [Span(0, 80)]
