"""Tests of the simulation: a defect that is planted in the engine is found within a few seeds."""

import contextlib
import random
from dataclasses import replace

import pytest
import trio

from storefs.core import commitheader, keys
from storefs.core.ranges import Span
from storefs.engine.commit import Committer
from storefs.engine.cut import Cutter
from storefs.engine.drafts import Draft
from storefs.errors import PreconditionFailed
from storefs.testing.simulation.run import simulate
from storefs.tree.local import Position
from storefs.tree.merge import Merge
from storefs.tree.pending import Pending

RUNS = 200
"""At most; most defects are found in the first three."""


def find(seed, folder):
    """Return in which of some runs anything is wrong."""
    dice = random.Random(seed)
    for number in range(RUNS):
        try:
            simulate(dice.getrandbits(32), folder / str(number))
        except Exception as error:
            print(f"found in run {number}: {error!r}")
            return number
    return None


def commit_before_its_shards(patch):
    """The commit is put first, then the shards that it names; it is confirmed when both are there."""
    original, upload = Committer._put, Committer._upload

    async def later(self):
        pass

    async def put(self, intent):
        with contextlib.suppress(PreconditionFailed):
            await self._store.put_if_absent(keys.journal(intent.seq), intent.object)
        await trio.sleep(1)  # on the clock of the simulation: as long as large shards take
        await upload(self)
        return await original(self, intent)

    patch.setattr(Committer, "_upload", later)
    patch.setattr(Committer, "_put", put)


def a_taken_number_is_a_lost_answer(patch):
    """Whoever finds the number of its commit taken believes that an earlier try of its own took it."""

    async def put(self, intent):
        with contextlib.suppress(PreconditionFailed):
            await self._store.put_if_absent(keys.journal(intent.seq), intent.object)
        header, _ = commitheader.parse(intent.object, intent.seq)
        self._confirm(intent.high, Position(header.seq, header.nonce, header.chain), len(intent.object))
        return True

    patch.setattr(Committer, "_put", put)


def conflict_copies_are_dropped(patch):
    """What makes way for another content is not kept."""
    patch.setattr(Merge, "_copy", lambda self, loser, side, names: None)


def contents_are_merged_by_extent(patch):
    """Of two contents one is made: theirs where mine has nothing or what both began from."""
    original = Merge._contents

    def contents(self, ino, base, mine, theirs):
        result, copy = original(self, ino, base, mine, theirs)
        if copy is None:
            return result, copy
        known = set(base.extents)
        kept = [one for one in mine.extents if one not in known]
        taken = [Span(one[0], one[0] + one[1]) for one in kept]
        kept += [
            one for one in theirs.extents if all(one[0] + one[1] <= span.start or span.end <= one[0] for span in taken)
        ]
        row = list(result.row)
        row[4] = max([row[4], *(one[0] + one[1] for one in kept)])
        return replace(result, row=tuple(row), extents=tuple(sorted(kept))), None

    patch.setattr(Merge, "_contents", contents)


def commits_do_not_wait_for_what_was_closed(patch):
    """What is pending is committed as it is: a name perhaps before the content of its file."""
    patch.setattr(Cutter, "settled", lambda self: contextlib.nullcontext())


def commits_do_not_wait_for_what_is_being_cut(patch):
    """What is just being cut counts as cut."""
    patch.setattr(Draft, "owed", property(lambda self: self.closed))


def commits_end_anywhere(patch):
    """A commit ends after so many changes, whatever the next one is."""
    patch.setattr(Pending, "slice_end", lambda self, low, high, rows: min(high, low + rows - 1))


@pytest.mark.parametrize(
    "plant",
    [
        commit_before_its_shards,
        a_taken_number_is_a_lost_answer,
        conflict_copies_are_dropped,
        contents_are_merged_by_extent,
        commits_do_not_wait_for_what_was_closed,
        commits_do_not_wait_for_what_is_being_cut,
        commits_end_anywhere,
    ],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_defect_is_found(plant, seed, fast_folder, monkeypatch):
    plant(monkeypatch)
    assert find(seed, fast_folder) is not None
