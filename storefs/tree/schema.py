"""The tables, column by column: the replicated ones, which commits carry, and the local ones, which never leave.

Rules that hold for every replicated table (each for a reason that SQLite's session extension gives):
STRICT, WITHOUT ROWID and an explicit NOT NULL primary key, because a row without a key is silently not recorded; no
triggers, foreign keys or collations, because a changeset does not carry what they do; names are BLOBs, because a file
name is any byte string but ``/`` and NUL; columns are only ever appended, because a changeset knows them by position.
"""

import re

from storefs.core.digest import digest

SCHEMA_VERSION = 1
"""Grows with every change of the replicated tables; a commit of another version is never applied."""

DIRECTORY_KIND = 4
"""``kind`` of a dentry that leads to a directory (S_IFDIR >> 12)."""

REPLICATED = ("inode", "dentry", "extent", "xattr", "chunk", "shard")
"""The tables whose changes are recorded and committed; every other table is local."""

REPLICATED_SQL = """
CREATE TABLE inode (
    ino      INTEGER NOT NULL PRIMARY KEY,  -- node << 40 | counter; the root directory is 1
    mode     INTEGER NOT NULL,              -- file type and permission bits, as st_mode
    uid      INTEGER NOT NULL,
    gid      INTEGER NOT NULL,
    size     INTEGER NOT NULL,              -- bytes; of a directory 0
    cid      INTEGER NOT NULL,              -- version of the content; changes with every change of its extents
    atime_ns INTEGER NOT NULL,              -- ns since 1970, as are the next two
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    rdev     INTEGER NOT NULL,              -- device number of a special file, else 0
    target   BLOB    NOT NULL               -- what a symbolic link points to, else empty
) STRICT, WITHOUT ROWID;

CREATE TABLE dentry (
    parent INTEGER NOT NULL,                -- the directory's ino
    name   BLOB    NOT NULL,
    ino    INTEGER NOT NULL,                -- where the name leads; how many lead to one ino is its link count
    cookie INTEGER NOT NULL,                -- node << 40 | counter; place in a listing, never used twice
    kind   INTEGER NOT NULL,                -- file type (mode >> 12)
    PRIMARY KEY (parent, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX dentry_listing ON dentry (parent, cookie, ino);
CREATE INDEX dentry_names ON dentry (ino);
CREATE UNIQUE INDEX dentry_directory_once ON dentry (ino) WHERE kind = 4;  -- a directory has exactly one name
CREATE INDEX dentry_subdirectories ON dentry (parent) WHERE kind = 4;

CREATE TABLE extent (
    ino      INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,              -- in the file, bytes; what no extent covers reads as zeros
    length   INTEGER NOT NULL,              -- bytes; extents of one file never overlap nor pass its size
    chunk    BLOB    NOT NULL,              -- digest of the chunk the bytes come from
    skip     INTEGER NOT NULL,              -- where in the chunk's plain content they start
    PRIMARY KEY (ino, "offset")
) STRICT, WITHOUT ROWID;

CREATE TABLE xattr (
    ino   INTEGER NOT NULL,
    name  BLOB    NOT NULL,                 -- with its namespace, as user.comment
    value BLOB    NOT NULL,
    PRIMARY KEY (ino, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE chunk (
    id       BLOB    NOT NULL PRIMARY KEY,  -- BLAKE3-256 of the plain content
    shard    BLOB    NOT NULL,
    "offset" INTEGER NOT NULL,              -- of the payload in the shard, bytes
    stored   INTEGER NOT NULL,              -- length of the payload, bytes
    codec    INTEGER NOT NULL,              -- 0 none, 1 zstd, 2 lz4
    size     INTEGER NOT NULL               -- length of the plain content, bytes
) STRICT, WITHOUT ROWID;
CREATE INDEX chunk_in_shard ON chunk (shard, "offset");

CREATE TABLE shard (
    id   BLOB    NOT NULL PRIMARY KEY,      -- 16 random bytes
    day  INTEGER NOT NULL,                  -- YYYYMMDD (UTC) when it was opened; part of its key
    size INTEGER NOT NULL                   -- bytes of the whole object; 0 until it is sealed
) STRICT, WITHOUT ROWID;
"""

LOCAL_SQL = """
CREATE TABLE IF NOT EXISTS state (          -- single values: store, node, position in the journal, counters
    key   TEXT NOT NULL PRIMARY KEY,
    value ANY  NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS pending (        -- acknowledged changes that no commit holds yet, one row an operation
    id        INTEGER PRIMARY KEY AUTOINCREMENT,  -- grows forever: an id names one change of this replica, once
    changeset BLOB NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS intent (         -- the commit being put: at its seq only these bytes are ever put
    seq    INTEGER NOT NULL PRIMARY KEY,
    nonce  BLOB    NOT NULL,                -- 16 bytes, also in the object's header
    low    INTEGER NOT NULL,                -- the closed range of pending ids that it commits
    high   INTEGER NOT NULL,
    object BLOB    NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS orphan (         -- inodes without a name that the kernel still holds; gone with a restart
    ino INTEGER NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS unseen (         -- inodes of which a name was removed here, written elsewhere since
    ino INTEGER NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS absorbed (       -- staged bytes of a file that are part of its extents, or were cut away
    ino      INTEGER NOT NULL,
    start    INTEGER NOT NULL,              -- in the file, bytes
    "end"    INTEGER NOT NULL,
    position INTEGER NOT NULL,              -- of the staging log: what was staged before it is settled
    PRIMARY KEY (ino, start, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS local_shard (    -- shard files written here
    id    BLOB    NOT NULL PRIMARY KEY,
    day   INTEGER NOT NULL,
    state INTEGER NOT NULL,                 -- 0 open, 1 sealed, 2 uploaded; gone once committed (then it is mere cache)
    first INTEGER NOT NULL,                 -- the lowest pending id that may name it
    seal  INTEGER NOT NULL                  -- the pending id of its seal; 0 while open
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS held (           -- cached chunks that pending extents share: not evictable until committed
    chunk   BLOB    NOT NULL PRIMARY KEY,
    pending INTEGER NOT NULL                -- the latest pending id that names it
) STRICT, WITHOUT ROWID;
"""


def fingerprint() -> bytes:
    """Return 16 bytes that name the replicated tables: equal on two mounts if and only if their changesets fit."""
    bare = re.sub(r"--[^\n]*", "", REPLICATED_SQL)
    return digest(" ".join(bare.split()).encode())[:16]
