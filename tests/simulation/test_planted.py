"""Tests of the simulation: a defect that is planted in the engine is found within a few seeds."""

import random
from dataclasses import replace

import pytest

from storefs.core import keys
from storefs.core.ranges import Span
from storefs.engine.commit import Committer
from storefs.errors import PreconditionFailed
from storefs.testing.simulation.run import simulate
from storefs.tree.merge import Merge

RUNS = 40


def find(seed, folder):
    """Return in which of some runs anything is wrong."""
    dice = random.Random(seed)
    for number in range(RUNS):
        try:
            simulate(dice.getrandbits(32), folder / str(number))
        except Exception:
            return number
    return None


def commit_before_its_shards(patch):
    """The commit is put first, and the shards that it names when the next upload comes round."""
    original = Committer._put

    async def upload(self):
        pass

    async def put(self, intent):
        won = await original(self, intent)
        await uploaded(self)
        return won

    uploaded = Committer._upload
    patch.setattr(Committer, "_upload", upload)
    patch.setattr(Committer, "_put", put)


def a_lost_answer_is_a_lost_race(patch):
    """An own commit that is in the store already is taken for another mount's, and made again."""

    async def put(self, intent):
        try:
            await self._store.put_if_absent(keys.journal(intent.seq), intent.object)
        except PreconditionFailed:
            with self._tree.database.transaction():
                self._tree.local.intent = None
            return False
        return await original(self, intent)

    original = Committer._put
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


@pytest.mark.parametrize(
    "plant",
    [
        commit_before_its_shards,
        a_lost_answer_is_a_lost_race,
        conflict_copies_are_dropped,
        contents_are_merged_by_extent,
    ],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_defect_is_found(plant, seed, fast_folder, monkeypatch):
    plant(monkeypatch)
    assert find(seed, fast_folder) is not None
