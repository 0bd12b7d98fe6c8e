"""What only this replica knows: its place in the journal, its number, its counters, its commit under way."""

from dataclasses import dataclass
from typing import Any

from storefs.tree.database import Database

_RESERVED_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Position:
    """How far the journal is applied here.

    Attributes:
        seq: the number of the last commit applied, 0 before the first.
        nonce: that commit's nonce (16 bytes, zeros before the first).
        chain: the running digest over all changesets up to it (32 bytes, zeros before the first).
    """

    seq: int
    nonce: bytes
    chain: bytes


@dataclass(frozen=True, slots=True)
class Intent:
    """The commit that is being put: at ``seq`` only ``object`` is ever put by this replica."""

    seq: int
    nonce: bytes
    low: int
    high: int
    object: bytes


ORIGIN = Position(0, bytes(16), bytes(32))
"""Before the first commit."""


class Local:
    """The tables ``state``, ``intent``, ``orphan`` and ``unseen``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._orphans = self._read_orphans()
        database.on_reread.append(self._reread_orphans)

    def get(self, key: str) -> Any:
        """Return a single value, or None."""
        row = self._database.row("SELECT value FROM state WHERE key = ?", (key,))
        return row[0] if row else None

    def put(self, key: str, value: bytes | int | str) -> None:
        """Set a single value."""
        self._database.run(
            "INSERT INTO state VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value)
        )

    @property
    def position(self) -> Position:
        """How far the journal is applied here."""
        seq, nonce, chain = (self.get(key) for key in ("seq", "nonce", "chain"))
        if seq is None:
            return ORIGIN
        return Position(seq, nonce, chain)

    @position.setter
    def position(self, at: Position) -> None:
        self.put("seq", at.seq)
        self.put("nonce", at.nonce)
        self.put("chain", at.chain)

    @property
    def intent(self) -> Intent | None:
        """The commit under way, or None."""
        row = self._database.row("SELECT seq, nonce, low, high, object FROM intent")
        return Intent(*row) if row else None

    @intent.setter
    def intent(self, intent: Intent | None) -> None:
        self._database.run("DELETE FROM intent")
        if intent is not None:
            self._database.run(
                "INSERT INTO intent VALUES (?, ?, ?, ?, ?)",
                (intent.seq, intent.nonce, intent.low, intent.high, intent.object),
            )

    def orphans(self) -> list[int]:
        """Return the inodes without a name whose rows are kept for the kernel."""
        return list(self._orphans)

    def is_orphan(self, ino: int) -> bool:
        """Whether an inode lost its last name while in use. Asked at every turn, so the answer is in memory."""
        return ino in self._orphans

    def _read_orphans(self) -> set[int]:
        return {int(row[0]) for row in self._database.rows("SELECT ino FROM orphan")}

    def _reread_orphans(self) -> None:
        self._orphans = self._read_orphans()

    def add_orphan(self, ino: int) -> None:
        """Note an inode that lost its last name while it is in use."""
        self._orphans.add(ino)
        self._database.run("INSERT OR IGNORE INTO orphan VALUES (?)", (ino,))

    def remove_orphan(self, ino: int) -> None:
        """Forget an orphan."""
        self._orphans.discard(ino)
        self._database.run("DELETE FROM orphan WHERE ino = ?", (ino,))

    def note_unseen(self, ino: int) -> None:
        """Note that an inode got content which whoever removed one of its names here has not seen."""
        self._database.run("INSERT OR IGNORE INTO unseen VALUES (?)", (ino,))

    def is_unseen(self, ino: int) -> bool:
        """Whether a pending removal of one of an inode's names knew nothing of its content."""
        return self._database.row("SELECT 1 FROM unseen WHERE ino = ?", (ino,)) is not None

    def unseen(self) -> set[int]:
        """Return these inodes."""
        return {int(row[0]) for row in self._database.rows("SELECT ino FROM unseen")}

    def forget_unseen(self, ino: int) -> None:
        """Forget one of them: no such removal is pending any more."""
        self._database.run("DELETE FROM unseen WHERE ino = ?", (ino,))


class Numbers:
    """Gives out numbers that no other mount will ever give out: node << 40 | counter.

    Inodes, content versions and cookies all come from here. Blocks are reserved in ``state`` ahead of use, so that a
    number costs no write; what a crash leaves unused of a block is never used.
    """

    def __init__(self, database: Database, local: Local, node: int) -> None:
        self._local = local
        self._base = node << 40
        self._key = f"next:{node}"
        self._next = 0
        self._limit = 0
        # A reservation made inside a transaction that failed did not happen: the next number makes another one.
        database.on_reread.append(self._forget_reservation)

    def _forget_reservation(self) -> None:
        self._limit = self._next

    def take(self) -> int:
        """Return a new number."""
        if self._next >= self._limit:
            stored = self._local.get(self._key)
            self._next = max(self._next, stored if isinstance(stored, int) else 1)
            self._limit = self._next + _RESERVED_AT_ONCE
            self._local.put(self._key, self._limit)
        number = self._base | self._next
        self._next += 1
        return number
