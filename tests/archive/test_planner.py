"""The plan: the same for the same files, within its bounds; and the sorting beneath it."""

import random
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from storefs.archive.planner import Bounds, Estimate, Planned, estimate, plan, record
from storefs.archive.routing import Route, parse_time, route
from storefs.archive.sorting import Sorter

BOUNDS = Bounds(shard_bytes=1000, big_file_bytes=600)


def records(seed: int, count: int) -> list[list]:
    dice = random.Random(seed)
    found = []
    for number in range(count):
        uid, day = f"uid-{dice.randrange(count)}", f"2024-01-0{dice.randint(1, 3)}"
        size = dice.choice([0, dice.randrange(300), dice.randrange(700)])
        found.append(record(route(uid, parse_time(day), 4), uid, number, size, f"/{number}"))
    return found


def planned(found: list[list], folder: Path, run_records: int = 50) -> list[Planned]:
    folder.mkdir()
    sorter = Sorter(folder, run_records)
    for one in found:
        sorter.add(one)
    assert len(sorter) == len(found)
    return list(plan(sorter, BOUNDS))


def test_the_order_of_a_manifest_means_nothing(seed: int, tmp_path: Path) -> None:
    found = records(seed, 1000)
    first = planned(found, tmp_path / "one")
    random.Random(seed).shuffle(found)
    assert planned(found, tmp_path / "two", run_records=7) == first
    assert planned(found, tmp_path / "three", run_records=100_000) == first
    assert sorted(one.number for one in first) == list(range(1000))


def test_shards_keep_their_bounds(seed: int, tmp_path: Path) -> None:
    shards: defaultdict[tuple[Route, int], list[Planned]] = defaultdict(list)
    for one in planned(records(seed, 2000), tmp_path / "plan"):
        assert one.big == (one.size > 600)
        shards[one.route, one.shard].append(one)
    for files in shards.values():
        first = {one.uid: one for one in reversed(files)}.values()  # one of several of a uid is packed
        assert sum(one.size for one in first if not one.big) <= 1000
    for (before, last), (after, number) in pairwise(shards):
        assert (number == last + 1) if before == after else number == 0
    # Those of one uid are together.
    where = defaultdict(set)
    for place, files in shards.items():
        for one in files:
            where[one.route, one.uid].add(place)
    assert all(len(places) == 1 for places in where.values())


def test_many_entries_end_a_shard_before_its_index_is_too_long(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("storefs.archive.planner._INDEX_BYTES", 10_000)
    found = [record(Route("20240101", "0"), f"{number:0100d}", number, 0, "/x") for number in range(100)]
    shards = {one.shard for one in planned(found, tmp_path / "plan")}
    assert 3 <= len(shards) <= 5


def test_the_estimate_counts_by_day(tmp_path: Path) -> None:
    one, two = Route("20240101", "0"), Route("20240102", "F")
    found = [
        record(one, "a", 1, 500, "/a"),
        record(one, "b", 2, 501, "/b"),
        record(one, "big", 3, 5000, "/big"),
        record(two, "c", 4, 10, "/c"),
    ]
    assert estimate(planned(found, tmp_path / "plan")) == {
        "20240101": Estimate(files=3, bytes=6001, big_files=1, big_bytes=5000, shards=2),
        "20240102": Estimate(files=1, bytes=10, shards=1),
    }
