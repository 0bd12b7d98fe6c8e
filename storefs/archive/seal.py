"""The seal: a digest of a shard's whole index, so that a changed name never looks like a file that is not there.

The digest of an entry proves its content and not its name. The seal is ``"blake3_index": hex`` in the meta of the last
entry: the BLAKE3-256 digest of the index, with zeros where the hex is. Other readers of the format pass over it.
"""

from dataclasses import replace
from typing import Any

from storefs.core.digest import digest, digest_of
from storefs.errors import Corrupt
from storefs.model import CHUNK_ID_BYTES
from storefs.shard.format import Entry, pack_index, pack_meta
from storefs.shard.writer import ShardWriter

_KEY = "blake3_index"
_MARK = f'"{_KEY}":"'.encode()
_HEX_BYTES = CHUNK_ID_BYTES * 2
_BLANK = "0" * _HEX_BYTES


def sealed(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the entries of an index with its seal in the meta of the last. Raises UsageError when there is no room."""
    if not entries:
        return ()
    blank = _with(entries, _BLANK)
    return _with(blank, digest(pack_index(blank)).hex())


def finish(writer: ShardWriter, *, durable: bool = True) -> int:
    """Seal the shard as ``ShardWriter.seal`` does, and its index; return its size. The writer is closed then.

    Raises NoSpace, StorefsError, UsageError.
    """
    writer.close()
    with ShardWriter.resume(writer.path, sealed(writer.entries), writer.end) as final:
        return final.seal(durable)


def without(meta: dict[str, Any]) -> dict[str, Any]:
    """Return the meta of an entry without a seal: for an entry that moves to another shard."""
    return {name: value for name, value in meta.items() if name != _KEY}


def check(index: bytes, meta_at: int) -> bool:
    """Hold an index against its seal, whose last entry's meta begins at ``meta_at``; return whether it has one.

    Raises Corrupt.
    """
    at = index.find(_MARK, meta_at)
    if at < 0:
        return False
    begin = at + len(_MARK)
    end = begin + _HEX_BYTES
    stated = index[begin:end]
    if digest_of(index[:begin], _BLANK.encode(), index[end:]).hex().encode() != stated:
        raise Corrupt("index: it does not match its digest")
    return True


def _with(entries: tuple[Entry, ...], seal: str) -> tuple[Entry, ...]:
    last = entries[-1]
    return (*entries[:-1], replace(last, meta=pack_meta(last.metadata | {_KEY: seal})))
