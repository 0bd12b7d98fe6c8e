"""The tree as one object: its tables side by side."""

from pathlib import Path

from storefs.core.storeinfo import StoreInfo
from storefs.model import ROOT_INO
from storefs.tree.chunks import Chunks
from storefs.tree.database import Database
from storefs.tree.dentries import Dentries
from storefs.tree.extents import Extents
from storefs.tree.inodes import Inodes
from storefs.tree.local import Local
from storefs.tree.pending import Pending
from storefs.tree.shards import LocalShards
from storefs.tree.xattrs import Xattrs


class Tree:
    """One replica of the tree. Synchronous throughout; one thread uses it."""

    def __init__(self, path: Path) -> None:
        """Open the replica at ``path``, or make one of the empty tree (which still lacks its root)."""
        self.database = Database(path)
        self.inodes = Inodes(self.database)
        self.dentries = Dentries(self.database)
        self.extents = Extents(self.database)
        self.xattrs = Xattrs(self.database)
        self.chunks = Chunks(self.database)
        self.pending = Pending(self.database)
        self.pending.prove()
        self.local = Local(self.database)
        self.shards = LocalShards(self.database)

    def plant(self, info: StoreInfo) -> None:
        """Make the root directory of a new store: the same on every replica, part of no commit."""
        with self.database.transaction():
            self.inodes.insert(ROOT_INO, info.root_mode, info.root_uid, info.root_gid, info.created_ns)
            self.local.put("store", info.store)
            self.local.position = self.local.position

    def forget_unseen(self) -> None:
        """Forget the unseen content of inodes that no pending change mentions any more (see ``Local.note_unseen``)."""
        for ino in self.local.unseen():
            if ino not in self.pending.mentioned:
                self.local.forget_unseen(ino)

    def stored_bytes(self) -> int:
        """Return how many bytes the tree's sealed shards take in the store."""
        return self.database.value("SELECT sum(size) FROM shard")

    def close(self) -> None:
        """Close the file."""
        self.database.close()
