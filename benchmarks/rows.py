"""The rows of the table: what is measured, in which unit, and the bars that storefs has to reach."""

from collections.abc import Mapping
from dataclasses import dataclass

Medians = Mapping[str, float]
"""What each peer reached in a row, by its key."""


@dataclass(frozen=True, slots=True)
class Faster:
    """storefs is at least ``factor`` times as fast as the best of ``peers`` that were measured."""

    factor: float
    peers: tuple[str, ...]

    def text(self, names: Mapping[str, str]) -> str:
        """Return the bar as tables show it."""
        best = " and ".join(names[peer] for peer in self.peers)
        return f"≥ {self.factor:g} x {best}"

    def holds(self, medians: Medians) -> bool | None:
        """Return whether the bar is reached; None when one of both sides was not measured."""
        others = [medians[peer] for peer in self.peers if peer in medians]
        if not others or "storefs" not in medians:
            return None
        return medians["storefs"] >= self.factor * max(others)


@dataclass(frozen=True, slots=True)
class AtMost:
    """What storefs needs is at most ``limit``, or below it."""

    limit: float
    below: bool = False

    def text(self, _: Mapping[str, str]) -> str:
        """Return the bar as tables show it."""
        return f"{'<' if self.below else '≤'} {self.limit:g}"

    def holds(self, medians: Medians) -> bool | None:
        """Return whether the bar is reached; None when it was not measured."""
        if "storefs" not in medians:
            return None
        return medians["storefs"] < self.limit or (not self.below and medians["storefs"] == self.limit)


@dataclass(frozen=True, slots=True)
class Row:
    """A row. One with ``speeds`` has more as better, and is shown as ratios too; the key's first letter names it."""

    key: str
    title: str
    unit: str
    bars: tuple[Faster | AtMost, ...] = ()
    speeds: bool = False

    @property
    def letter(self) -> str:
        """The row that this is a part of, as the command line names it."""
        return self.key[0]


TABLE = (
    Row(
        "a",
        "read cached small files, read-only mount",
        "files/s",
        (Faster(10, ("juicefs",)), Faster(0.5, ("local",))),
        speeds=True,
    ),
    Row("b", "the same, read-write mount", "files/s", (Faster(2, ("juicefs",)),), speeds=True),
    Row(
        "c",
        "walk a tree and read it in 8 threads, nothing cached",
        "files/s",
        (Faster(4, ("juicefs", "rclone")),),
        speeds=True,
    ),
    Row("c.walk", "of that the walk", "s"),
    Row("c.read", "of that the reading", "s"),
    Row("c.requests", "S3 requests for each file", "", (AtMost(0.02),)),
    Row("d", "create small files, fsync the directory", "files/s", (Faster(4, ("juicefs",)),), speeds=True),
    Row("e.ls", "`ls -lR`, second time", "files/s", (Faster(0.7, ("local",)),), speeds=True),
    Row("e.find", "`find`, second time", "files/s", (Faster(0.7, ("local",)),), speeds=True),
    Row("e.requests", "requests at the daemon for each file, both", "", (AtMost(0.01),)),
    Row("e.cpu", "processor time of the daemon, both", "s"),
    Row("f", "write a large file, fsync", "MiB/s", (Faster(1.5, ("juicefs",)),), speeds=True),
    Row("g", "read it back, cached on disk", "MiB/s", (Faster(1.5, ("juicefs",)),), speeds=True),
    Row("h", "read it back, nothing cached", "MiB/s", (Faster(1.5, ("juicefs",)),), speeds=True),
    Row("i", "random reads of it, cached on disk", "reads/s", (Faster(1.5, ("juicefs",)),), speeds=True),
    Row("j.ordered", "tensors of a mapped file in their order, nothing cached", "s"),
    Row("j.shuffled", "the same tensors shuffled, nothing cached", "s"),
    Row("j.ratio", "shuffled : in order", "", (AtMost(1.3),)),
    Row("k.tenth", "daemon's memory, a tenth of the files read", "MiB"),
    Row("k.all", "daemon's memory, very many files read", "MiB", (AtMost(300, below=True),)),
    Row("k.ratio", "all : a tenth", "", (AtMost(1.3),)),
    Row("l", "mount of very many files, nothing cached", "s", (AtMost(5, below=True),)),
)

LETTERS = tuple(dict.fromkeys(row.letter for row in TABLE))
"""All rows as the command line names them."""
