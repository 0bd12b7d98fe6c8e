"""The write map against a bytearray: each byte remembers the log position it was written from."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from storefs.core.writemap import WriteMap, gaps

SIZE = 80
offsets, lengths = st.integers(0, 60), st.integers(1, 20)
puts = st.lists(st.tuples(st.sampled_from(["put", "clear"]), offsets, lengths), max_size=30)


def build(steps, first_position=1000):
    """Run steps on a map and on a list of positions (None where nothing was written)."""
    found, model = WriteMap(), [None] * (SIZE + 1)
    position = first_position
    for step, offset, length in steps:
        if step == "put":
            found.put(offset, length, position)
            model[offset : offset + length] = range(position, position + length)
            position += length + 40  # records have headers between them
        else:
            found.clear(offset, offset + length)
            model[offset : offset + length] = [None] * length
    return found, model


def flattened(pieces):
    flat = [None] * (SIZE + 1)
    for piece in pieces:
        assert piece.length > 0
        assert all(one is None for one in flat[piece.offset : piece.end]), "pieces overlap"
        flat[piece.offset : piece.end] = range(piece.position, piece.position + piece.length)
    return flat


@given(puts)
def test_what_is_put_later_wins(steps):
    found, model = build(steps)
    assert flattened(found.pieces) == model
    assert [piece.offset for piece in found.pieces] == sorted(piece.offset for piece in found.pieces)
    assert found.bytes == sum(one is not None for one in model)
    assert found.end == max((at + 1 for at, one in enumerate(model) if one is not None), default=0)
    assert bool(found) == any(one is not None for one in model)


@given(puts, offsets, lengths)
def test_overlapping_pieces_are_trimmed(steps, start, length):
    found, model = build(steps)
    pieces = found.overlapping(start, start + length)
    expected = [one if start <= at < start + length else None for at, one in enumerate(model)]
    assert flattened(pieces) == expected
    missing = {at for span in gaps(pieces, start, start + length) for at in range(span.start, span.end)}
    assert missing == {at for at in range(start, start + length) if expected[at] is None}


@given(puts, puts)
def test_what_is_put_under_fills_the_gaps_only(older_steps, newer_steps):
    older, under = build(older_steps)
    newer, over = build(newer_steps, first_position=100_000)
    newer.put_under(older)
    assert flattened(newer.pieces) == [low if high is None else high for low, high in zip(under, over, strict=True)]


@given(puts)
def test_runs_are_what_is_covered(steps):
    found, model = build(steps)
    runs = found.runs()
    assert {at for run in runs for at in range(run.start, run.end)} == {
        at for at, one in enumerate(model) if one is not None
    }
    assert all(one.end < two.start for one, two in itertools.pairwise(runs))
