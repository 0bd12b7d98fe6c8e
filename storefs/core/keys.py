"""The names of a store's objects (docs/FORMAT.md has the table)."""

import re
from collections.abc import Callable

from storefs.model import SHARD_ID_BYTES, ShardId

STORE_INFO = "store.json"
JOURNAL = "journal/"
SNAPSHOTS = "snapshots/"
SHARDS = "shards/"
NODES = "nodes/"
CHECKS = "checks/"
CLOCK = "checks/clock"
LEASE = "lease"
FLOOR = "floor"
NAMED_SNAPSHOTS = "snapshots/named/"

_SNAPSHOT_SUFFIX = ".sqlite.zst"
_SHARD_SUFFIX = ".des"
_SHARD_KEY = re.compile(rf"{SHARDS}([0-9]{{8}})/([0-9a-f]{{{2 * SHARD_ID_BYTES}}}){re.escape(_SHARD_SUFFIX)}")
_SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def journal(seq: int) -> str:
    """The key of commit number ``seq``."""
    return f"{JOURNAL}{seq:016x}"


def snapshot(seq: int) -> str:
    """The key of the snapshot of the tree at commit ``seq``."""
    return f"{SNAPSHOTS}{seq:016x}{_SNAPSHOT_SUFFIX}"


def named_snapshot(name: str) -> str:
    """The key of the snapshot that somebody gave a name. Raises ValueError for what cannot be one."""
    if not _SNAPSHOT_NAME.fullmatch(name):
        raise ValueError(name)
    return f"{NAMED_SNAPSHOTS}{name}{_SNAPSHOT_SUFFIX}"


def snapshot_name(key: str) -> str:
    """The name in the key of a named snapshot. Raises ValueError for any other key."""
    name = key.removeprefix(NAMED_SNAPSHOTS).removesuffix(_SNAPSHOT_SUFFIX)
    if named_snapshot(name) != key:
        raise ValueError(key)
    return name


def journal_seq(key: str) -> int:
    """The commit number in a journal key. Raises ValueError for any other name, such as one nobody would look for."""
    return _exact(key, journal, key.removeprefix(JOURNAL))


def snapshot_seq(key: str) -> int:
    """The commit number in a snapshot key. Raises ValueError for any other name, also one that somebody gave."""
    return _exact(key, snapshot, key.removeprefix(SNAPSHOTS).removesuffix(_SNAPSHOT_SUFFIX))


def _exact(key: str, name: Callable[[int], str], digits: str) -> int:
    number = int(digits, 16)
    if number < 1 or name(number) != key:
        raise ValueError(key)
    return number


def shard(shard_id: ShardId, day: int) -> str:
    """The key of a shard that was opened on ``day`` (YYYYMMDD, UTC)."""
    assert len(shard_id) == SHARD_ID_BYTES
    return f"{SHARDS}{day:08d}/{shard_id.hex()}{_SHARD_SUFFIX}"


def shard_named(key: str) -> tuple[ShardId, int] | None:
    """The shard that a key names, and its day; None for the key of anything else."""
    match = _SHARD_KEY.fullmatch(key)
    return (ShardId(bytes.fromhex(match[2])), int(match[1])) if match else None


def node(number: int) -> str:
    """The key under which mount number ``number`` is claimed."""
    return f"{NODES}{number}"


def node_number(key: str) -> int:
    """The number in a node key. Raises ValueError for any other name."""
    return int(key.removeprefix(NODES))
