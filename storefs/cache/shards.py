"""Shard files on this machine: whole ones that were written here, and parts of others, each at its own offset."""

import os
import struct
from collections import OrderedDict
from pathlib import Path
from weakref import WeakValueDictionary

from storefs.cache.direct import DirectIO, open_direct
from storefs.cache.lending import Pieces
from storefs.core.ranges import Span, SpanSet
from storefs.errors import NoSpace, StorefsError
from storefs.model import Buffer, ShardId
from storefs.vault.vault import Vault

_FDS_MAX = 128
_BLOCK_BYTES_MAX = 512 << 10
_BLOCKS_AT_A_TIME = 4
_PREFIX = b"parts:"
_SPAN = struct.Struct("<QQ")


class Life:
    """A shard's file from its first byte until it is removed; see ``ShardFiles.life``."""

    __slots__ = ("__weakref__",)


class ShardFiles:
    """The folder of shard files, with a record in the vault of which bytes of each are there.

    A file has the layout of its shard; what was not fetched is a hole. The record is only a claim: whoever reads
    checks the digest, and drops the file when it does not hold (after a power cut, say).
    """

    def __init__(self, folder: Path, vault: Vault, direct: DirectIO) -> None:
        self._folder = folder
        self._vault = vault
        self._direct = direct
        # Theirs are given back at once: they have not to wait until something that was read ahead is wanted.
        self._direct_blocks = DirectIO(Pieces(_BLOCKS_AT_A_TIME, _BLOCK_BYTES_MAX))
        self._parts: dict[ShardId, SpanSet] = {}
        self._fds: OrderedDict[tuple[ShardId, bool], int] = OrderedDict()
        """By shard, and whether it is for direct reads."""
        self._growing: set[ShardId] = set()
        self._lives: WeakValueDictionary[ShardId, Life] = WeakValueDictionary()
        self._used: dict[ShardId, int] = {}
        self._clock = 0
        self.bytes = 0
        """How many bytes of shards are here."""
        for key, value in vault.prefixed(_PREFIX):
            shard = ShardId(key.removeprefix(_PREFIX))
            self._set(shard, SpanSet(Span(*pair) for pair in _SPAN.iter_unpack(value)))

    def path(self, shard: ShardId) -> Path:
        """The file of a shard."""
        return self._folder / f"{shard.hex()}.des"

    def read(self, shard: ShardId, offset: int, length: int) -> bytes | None:
        """Return bytes of a shard, or None when they are not all here."""
        if not self.touch(shard, offset, length):
            return None
        try:
            data = os.pread(self._fd(shard, direct=False), length, offset)
        except FileNotFoundError:  # somebody cleaned up by hand
            return None
        return data if len(data) == length else None

    def read_block(self, shard: ShardId, offset: int, length: int) -> memoryview | None:
        """Return the same, past the page cache if that goes; nobody should keep it for long."""
        if self.direct(shard) is None:
            data = self.read(shard, offset, length)
            return memoryview(data) if data is not None else None
        if not self.touch(shard, offset, length):
            return None
        try:
            return self._direct_blocks.read(self._fd(shard, direct=True), offset, length)
        except FileNotFoundError:
            return None

    def direct(self, shard: ShardId) -> DirectIO | None:
        """Return what reads a shard past the page cache; None while it grows here: they would wait for its writes."""
        return self._direct if shard not in self._growing else None

    def has(self, shard: ShardId, offset: int, length: int) -> bool:
        """Whether bytes of a shard are here."""
        parts = self._parts.get(shard)
        return parts is not None and parts.covers(offset, offset + length)

    def parts(self, shard: ShardId, span: Span) -> list[Span]:
        """Return what is here of a shard and touches ``span``."""
        parts = self._parts.get(shard)
        return [one for one in parts if one.start < span.end and one.end > span.start] if parts is not None else []

    def write(self, shard: ShardId, offset: int, data: Buffer, *, direct: bool = False) -> None:
        """Write bytes of a shard into its file, in any thread; ``note`` has to follow. Raises NoSpace, StorefsError.

        With ``direct`` those that lie in ``memory`` go past the page cache, at the speed of the disk.
        """
        path = self.path(shard)
        try:
            self._direct.write(path, offset, data, direct=direct)
        except OSError as error:
            kind = NoSpace if error.errno == NoSpace.errno else StorefsError
            raise kind(f"cannot write {path}: {error.strerror}") from error

    def memory(self, offset: int, length: int) -> memoryview | None:
        """Return memory for a direct ``write`` at ``offset`` of a shard; or None: there is not always some."""
        return self._direct.memory(offset, length)

    def lacks_memory(self, offset: int, length: int) -> bool:
        """Whether ``memory`` would have some, were not all of it in use."""
        return self._direct.lacks_memory(offset, length)

    def touch(self, shard: ShardId, offset: int, length: int) -> bool:
        """Whether bytes of a shard are here; if so, that counts as a use of the file."""
        if not self.has(shard, offset, length):
            return False
        self._clock += 1
        self._used[shard] = self._clock
        return True

    def life(self, shard: ShardId) -> Life:
        """Return what tells a shard's file from the one that it has after it was removed.

        Threads read and write files by name: whoever has them do so asks before, and ``is_same`` or ``note`` later.
        """
        life = self._lives.get(shard)
        if life is None:
            life = self._lives[shard] = Life()
        return life

    def is_same(self, shard: ShardId, life: Life) -> bool:
        """Whether a shard's file was not removed since."""
        return self._lives.get(shard) is life

    def note(self, shard: ShardId, start: int, end: int, life: Life | None = None) -> None:
        """Record that bytes of a shard are in its file; with ``life``, unless it was removed since."""
        if life is not None and not self.is_same(shard, life):
            if shard not in self._parts:  # it may have been made again
                self.remove(shard)
            return
        parts = self._parts.get(shard) or SpanSet()
        before = parts.total
        parts.add(start, end)
        self.bytes += parts.total - before
        self._parts[shard] = parts
        self._growing.discard(shard)
        self._clock += 1
        self._used[shard] = self._clock
        value = b"".join(_SPAN.pack(span.start, span.end) for span in parts)
        self._vault.put_many([(_PREFIX + shard, value)])

    def extend(self, shard: ShardId, end: int) -> None:
        """Count the bytes of a shard that is being written here, without a record (``note`` comes with its seal)."""
        self._growing.add(shard)
        parts = self._parts.setdefault(shard, SpanSet())
        before = parts.total
        parts.add(0, end)
        self.bytes += parts.total - before

    def remove(self, shard: ShardId) -> None:
        """Drop a shard's file."""
        for direct in (False, True):
            fd = self._fds.pop((shard, direct), None)
            if fd is not None:
                os.close(fd)
        self._growing.discard(shard)
        self._lives.pop(shard, None)
        parts = self._parts.pop(shard, None)
        self.bytes -= parts.total if parts is not None else 0
        self._used.pop(shard, None)
        self._vault.delete_many([_PREFIX + shard])
        self.path(shard).unlink(missing_ok=True)

    def size(self, shard: ShardId) -> int:
        """How many bytes of a shard are here."""
        parts = self._parts.get(shard)
        return parts.total if parts is not None else 0

    def least_used(self) -> list[tuple[ShardId, int]]:
        """Return (shard, bytes here), the longest unused first."""
        order = sorted(self._parts, key=lambda shard: self._used.get(shard, 0))
        return [(shard, self._parts[shard].total) for shard in order]

    def strays(self) -> list[Path]:
        """Return files in the folder that no record names."""
        known = {self.path(shard).name for shard in self._parts}
        return [path for path in self._folder.iterdir() if path.name not in known]

    def close(self) -> None:
        """Close the files."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def _set(self, shard: ShardId, parts: SpanSet) -> None:
        self._parts[shard] = parts
        self.bytes += parts.total

    def _fd(self, shard: ShardId, *, direct: bool) -> int:
        fd = self._fds.get((shard, direct))
        if fd is not None:
            self._fds.move_to_end((shard, direct))
            return fd
        path = self.path(shard)
        fd = open_direct(path) if direct else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._fds[shard, direct] = fd
        if len(self._fds) > _FDS_MAX:
            os.close(self._fds.popitem(last=False)[1])
        return fd
