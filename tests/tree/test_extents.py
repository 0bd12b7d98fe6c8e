"""Extents against a list of (chunk, place in it) per byte."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from storefs.model import ChunkId, Extent
from storefs.tree.tree import Tree

INO = 10
SIZE = 90
steps = st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(1, 25)), max_size=20)


def flattened(extents):
    flat = [None] * SIZE
    for extent in extents:
        assert all(one is None for one in flat[extent.offset : extent.end]), "extents overlap"
        flat[extent.offset : extent.end] = [(extent.chunk, extent.skip + at) for at in range(extent.length)]
    return flat


@given(steps, st.integers(0, 60), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_extents_are_what_was_put_last(plan, start, length):
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder) / "tree.sqlite")
        try:
            check(tree, plan, start, length)
        finally:
            tree.close()


def check(tree, plan, start, length):
    extents, model = tree.extents, [None] * SIZE
    other = Extent(0, SIZE, ChunkId(bytes(32)), 0)
    extents.insert(INO - 1, other)  # the neighbours in the table
    extents.insert(INO + 1, other)
    for number, (puts, offset, size) in enumerate(plan):
        extents.clear(INO, offset, offset + size)
        model[offset : offset + size] = [None] * size
        if puts:
            chunk = ChunkId(b"%032d" % number)
            extents.insert(INO, Extent(offset, size, chunk, 3))
            model[offset : offset + size] = [(chunk, 3 + at) for at in range(size)]
    found = extents.all(INO)
    assert flattened(found) == model
    assert [one.offset for one in found] == sorted(one.offset for one in found)
    end = start + length
    assert extents.overlapping(INO, start, end) == [one for one in found if one.offset < end and one.end > start]
    assert extents.before(INO, start) == next((one for one in found if one.end == start), None)
    assert extents.allocated(INO) == sum(one is not None for one in model)
    assert extents.count(INO, 3) == min(3, len(found))
    assert extents.all(INO - 1) == extents.all(INO + 1) == [other]
