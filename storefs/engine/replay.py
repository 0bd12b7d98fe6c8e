"""Replaying a store's journal for a look at it: every commit from the oldest on, with the snapshots beside it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from storefs.core import commitheader, keys
from storefs.core.storeinfo import StoreInfo
from storefs.engine.journal import Commit, Journal, apply_commit
from storefs.engine.limits import Limits
from storefs.engine.listing import listed
from storefs.engine.rebuild import use_for_a_while
from storefs.engine.snapshots import Snapshots
from storefs.errors import Corrupt, Diverged, ObjectMissing
from storefs.model import ShardId
from storefs.ports import ObjectStore, Offload
from storefs.tree import garbage, schema, snapshot
from storefs.tree.local import ORIGIN, Position
from storefs.tree.snapshot import SnapshotInfo
from storefs.tree.tree import Tree

Progress = Callable[[str, int, int], None]
"""Told how far a part of the work is: its name, what is done, and all there is to do."""


@dataclass(slots=True)
class Report:
    """What a check found.

    Attributes:
        faults: what is wrong, one line each.
        notes: what is worth knowing and no fault: objects that nothing names, what was mended, which files are hit.
        counts: how much was looked at.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count."""
        self.counts[what] = self.counts.get(what, 0) + number


class _GoneError(Corrupt):
    """A commit that was listed is not there."""


class Replay:
    """The journal, read from its oldest commit to the head, with every snapshot compared on the way.

    Behind damage it goes on from the next snapshot.

    Attributes:
        tree: the last tree that is known, or None.
        current: whether that is the tree after the last commit that was read.
        shards: the ids of the shards that each good snapshot names, by its key.
    """

    def __init__(
        self,
        store: ObjectStore,
        offload: Offload,
        folder: Path,
        info: StoreInfo,
        report: Report,
        progress: Progress,
        *,
        repair: bool,
    ) -> None:
        """Make replicas in ``folder``; with ``repair``, delete snapshots that are not what the journal gives."""
        self.tree: Tree | None = None
        self.current = False
        self.shards: dict[str, set[ShardId]] = {}
        self._store = store
        self._snapshots = Snapshots(store, offload, Limits())
        self._offload = offload
        self._journal = Journal(store, offload)
        self._path = folder / "tree.sqlite"
        self._info = info
        self._report = report
        self._progress = progress
        self._repair = repair
        self._last: Position | None = None

    async def run(self) -> None:
        """Read it all, up to the head as it is now. Raises UnknownFormat and the store's errors."""
        # In this order: a snapshot is younger than the commits in it, and the floor rises before commits go.
        snapshots = await self._snapshot_keys()
        commits = await self._numbers(keys.JOURNAL, keys.journal_seq)
        first = await self._first(commits, snapshots)
        if first == 1:
            self._plant()
        for one, other in pairwise(commits):
            if other > one + 1:
                missing = f"commit {one + 1} is" if other == one + 2 else f"commits {one + 1} to {other - 1} are"
                self._fault(f"{missing} missing in the journal, which goes on with {other}")
        known = set(commits)
        async with aclosing(self._read(commits)) as found:
            steps = sorted(known.union(snapshots))
            for done, seq in enumerate(steps):
                self._progress("journal", done, len(steps))
                if seq in known:
                    await self._take(seq, await anext(found))
                elif commits and seq > commits[-1]:
                    self._fault(f"{snapshots[seq][0]} holds commit {seq}, but the journal ends with {commits[-1]}")
                for key in snapshots.get(seq, ()):
                    await self._meet(key, seq, adoptable=seq >= first - 1)
            self._progress("journal", len(steps), len(steps))
        if self.tree is None:
            self._fault(f"the journal begins with commit {first}, and no snapshot has the tree that it goes on from")
        elif not self.current:
            seq = self.tree.local.position.seq
            self._report.notes.append(f"the tree of commit {seq} is checked: behind it the journal is damaged")

    def _fault(self, text: str) -> None:
        self._report.faults.append(text)

    async def _first(self, commits: list[int], snapshots: dict[int, list[str]]) -> int:
        """Return the number that the journal begins with; commits before it, which are being deleted, are left out."""
        try:
            floor = await self._journal.floor()
        except Corrupt as error:
            self._fault(str(error))
            floor = 0
        gaps = [at for at in range(1, len(commits)) if commits[at - 1] + 1 < commits[at] <= floor + 1]
        if gaps:
            del commits[: gaps[-1]]
        if not commits:
            return max(snapshots, default=0) + 1
        if commits[0] > floor + 1:
            self._fault(f"the journal begins with commit {commits[0]}, but only commits up to {floor} were to go")
        return commits[0]

    async def _snapshot_keys(self) -> dict[int, list[str]]:
        """Return the keys of all snapshots by commit number. Which one a snapshot with a name holds, only it knows."""
        found = {seq: [keys.snapshot(seq)] for seq in await self._numbers(keys.SNAPSHOTS, keys.snapshot_seq)}
        async for info in listed(self._store, keys.NAMED_SNAPSHOTS):
            try:
                keys.snapshot_name(info.key)
            except ValueError:
                continue
            plain = self._path.with_name("named.sqlite")
            try:
                seq = (await self._snapshots.fetch(info.key, plain)).position.seq
            except ObjectMissing:
                continue  # somebody deleted it
            except Corrupt as error:
                self._report.count("snapshots")
                self._fault(f"{info.key}: {error}")
            else:
                found.setdefault(seq, []).append(info.key)
            finally:
                plain.unlink(missing_ok=True)
        return found

    async def _numbers(self, prefix: str, number: Callable[[str], int]) -> list[int]:
        """Return the numbers of the objects below a prefix, in order; foreign ones are noted elsewhere."""
        found = []
        async for info in listed(self._store, prefix):
            try:
                found.append(number(info.key))
            except ValueError:
                continue
            self._report.count(f"{prefix.removesuffix('/')}_bytes", info.size)
        return found

    def _plant(self) -> None:
        self.tree = use_for_a_while(Tree(self._path))
        self.tree.plant(self._info)
        self.current, self._last = True, ORIGIN

    # --- commits ------------------------------------------------------------------------------------------------------

    async def _read(self, numbers: list[int]) -> AsyncGenerator[Commit | Corrupt, None]:
        """Yield the commits of these numbers, or what is wrong with them."""
        at = 0
        while at < len(numbers):
            seq = numbers[at]
            error: Corrupt = _GoneError("it went away while the journal was read")
            try:
                async with aclosing(self._journal.following(seq - 1)) as commits:
                    async for commit in commits:
                        if at == len(numbers) or numbers[at] != seq:
                            break  # it was put since the journal was listed
                        yield commit
                        at += 1
                        seq += 1
            except Corrupt as damage:
                error = damage
            if at < len(numbers) and numbers[at] == seq:
                yield error
                at += 1

    async def _take(self, seq: int, found: Commit | Corrupt) -> None:
        """Check that a commit continues what was read before, and apply it if the tree before it is known."""
        if self._last is None or seq != self._last.seq + 1:
            self._last, self.current = None, False
        self._report.count("commits")
        if isinstance(found, Corrupt):
            if not isinstance(found, _GoneError) or seq > await self._journal.floor():
                self._fault(f"{keys.journal(seq)}: {found}")
            self._last, self.current = None, False
            return
        try:
            if self.current:
                assert self.tree is not None
                await self._offload.run(apply_commit, self.tree, found)
            elif self._last is not None:
                _check_link(self._last, found)
        except Diverged as error:
            self._fault(f"{keys.journal(seq)}: {error}")
            self.current = False
        self._last = found.position

    # --- snapshots ----------------------------------------------------------------------------------------------------

    async def _meet(self, key: str, seq: int, *, adoptable: bool) -> None:
        """Check a snapshot, and take its tree if that of the journal is not known."""
        plain = self._path.with_name("snapshot.sqlite")
        if self.tree is None or self.tree.local.position.seq != seq:
            self.current = False
        self._report.count("snapshots")
        try:
            info = await self._snapshots.fetch(key, plain)
            objection = await self._objection(seq, info, plain)
            if objection is None:
                self.shards[key] = await self._offload.run(garbage.shards_of, plain)
            if objection is None and adoptable and not self.current:
                await self._adopt(plain, info)
        except ObjectMissing:
            self._report.notes.append(f"{key} went away while the store was checked")
            return
        except Corrupt as error:
            objection = str(error)
        finally:
            plain.unlink(missing_ok=True)
        if objection is None:
            return
        # The journal has this tree. Not one with a name: that is for whoever gave the name to delete.
        if self._repair and self.current and not key.startswith(keys.NAMED_SNAPSHOTS):
            await self._store.delete([key])
            self._report.notes.append(f"deleted {key}: {objection}")
        else:
            self._fault(f"{key}: {objection}")

    async def _objection(self, seq: int, info: SnapshotInfo, plain: Path) -> str | None:
        """Return what speaks against a snapshot that is readable, or None."""
        if info.store != self._info.store:
            return f"it belongs to the store {info.store.hex()}"
        if info.position.seq != seq:
            return f"it says that it holds commit {info.position.seq}"
        if self._last is not None and self._last.seq == seq and info.position != self._last:
            return "it comes from another history than the journal's"
        if self.current:
            assert self.tree is not None
            differing = await self._offload.run(_differing, self.tree, plain)
            if differing:
                return f"its tree is not the journal's: {', '.join(differing)} differ"
        return None

    async def _adopt(self, plain: Path, info: SnapshotInfo) -> None:
        """Let the tree of a snapshot be the one that the journal goes on from."""
        if self.tree is not None:
            self.tree.close()
            self.tree = None
        await self._offload.run(snapshot.adopt, plain, info)
        plain.replace(self._path)  # noqa: ASYNC240 - on the own disk
        self.tree = use_for_a_while(Tree(self._path))
        self.current, self._last = True, info.position


def _check_link(last: Position, commit: Commit) -> None:
    """Raise Diverged unless a commit follows the one that was read before it."""
    header = commit.header
    if header.previous != last.nonce or header.chain != commitheader.link(last.chain, commit.changes):
        raise Diverged(f"commit {header.seq} does not follow commit {last.seq} as the journal has it")


def _differing(tree: Tree, path: Path) -> list[str]:
    """Return the tables in which a snapshot differs from a replica. In a thread."""
    database = tree.database
    columns = "SELECT name FROM pragma_table_info(?, ?)"
    database.run("ATTACH ? AS other", (str(path),))
    try:
        differing = []
        for table in schema.REPLICATED:
            if database.rows(columns, (table, "main")) != database.rows(columns, (table, "other")):
                differing.append(table)
                continue
            # No column is NULL and each table has a key: rows that join by all their columns are the same rows.
            same = database.value(f"SELECT count(*) FROM main.{table} NATURAL JOIN other.{table}")  # noqa: S608
            here, there = (
                database.value(f"SELECT count(*) FROM {side}.{table}")  # noqa: S608 - both are constants
                for side in ("main", "other")
            )
            if not here == there == same:
                differing.append(table)
        return differing
    finally:
        database.run("DETACH other")
