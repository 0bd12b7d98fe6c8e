"""A job of a packer: the files of one shard, read, compressed and written; described by a file, done by any process."""

import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from storefs.archive import proof, seal
from storefs.archive.manifest import Failure
from storefs.core.digest import digest
from storefs.errors import UsageError
from storefs.model import Buffer, Codec
from storefs.shard.codec import LEVEL_DENSE, encode, is_packed
from storefs.shard.writer import ShardWriter


@dataclass(frozen=True, slots=True)
class Packing:
    """How files are packed: with which codec (NONE: as they are) and level, and whether digests go into the meta."""

    codec: Codec = Codec.ZSTD
    level: int = LEVEL_DENSE
    digests: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """A file of ``size`` bytes that is to be read. ``present`` proves what the archive has under its uid, if it has
    something (see ``Present.proof``).
    """

    number: int
    uid: str
    size: int
    path: str
    present: str | None = None


@dataclass(frozen=True, slots=True)
class Beside:
    """A big file that is in the archive already, and has to be named by the shard."""

    number: int
    uid: str
    size: int
    sha256: str
    meta: dict[str, Any]


@dataclass(slots=True)
class Done:
    """What came of a job.

    Attributes:
        shard_bytes: the length of the shard; 0 when there was nothing to put into one.
        files, bytes, stored: what is in it; ``bytes`` before compression, ``stored`` after it, big files left out.
        big_files: those of the files that lie beside it.
        present: files that the archive had already.
        repeated: entries that say what another one of the manifest says.
        failures: entries that are not packed.
    """

    shard_bytes: int = 0
    files: int = 0
    bytes: int = 0
    stored: int = 0
    big_files: int = 0
    present: int = 0
    repeated: int = 0
    failures: list[Failure] = field(default_factory=list)

    def pack(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, document: dict[str, Any]) -> "Done":
        """Read what ``pack`` wrote."""
        failures = [Failure(**one) for one in document.pop("failures")]
        return cls(failures=failures, **document)


class JobFile:
    """The description of a job, written line by line: how it is packed, then what.

    A source is a list and not an object: there may be millions.
    """

    def __init__(self, path: Path, packing: Packing) -> None:
        """Begin a new file. Raises OSError."""
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._write({"codec": int(packing.codec), "level": packing.level, "digests": packing.digests})

    def add(self, one: Source | Beside) -> None:
        """Add a file."""
        if isinstance(one, Source):
            self._write([one.number, one.uid, one.size, one.path, one.present])
        else:
            self._write(asdict(one))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Complete it."""
        self._file.close()

    def _write(self, document: object) -> None:
        self._file.write(f"{json.dumps(document)}\n")


def shard_of(path: Path) -> Path:
    """Return where the shard of a job goes."""
    return path.with_suffix(".des")


def read_job(path: Path) -> tuple[Packing, Iterator[Source | Beside]]:
    """Read the description of a job."""
    lines = path.open(encoding="utf-8")
    fields = json.loads(next(lines))
    return Packing(Codec(fields["codec"]), fields["level"], fields["digests"]), _entries(lines)


def _entries(lines: Iterable[str]) -> Iterator[Source | Beside]:
    for line in lines:
        fields = json.loads(line)
        yield Source(*fields) if isinstance(fields, list) else Beside(**fields)
    lines.close()  # type: ignore[attr-defined] # the file that read_job opened


def run(path: Path) -> Done:
    """Do a job: write its shard. Raises NoSpace, StorefsError; then there is no shard."""
    packing, entries = read_job(path)
    shard = shard_of(path)
    writer = ShardWriter.create(shard)
    try:
        done = _Packer(packing, writer).run(entries)
        if done.files:
            # Not durable: what lies here is uploaded, or of no use.
            finish = seal.finish if packing.digests else ShardWriter.seal
            done.shard_bytes = finish(writer, durable=False)
    except BaseException:
        writer.close()
        shard.unlink(missing_ok=True)
        raise
    writer.close()
    if not done.files:
        shard.unlink()
    return done


class _Packer:
    """Packs files into one open shard."""

    def __init__(self, packing: Packing, writer: ShardWriter) -> None:
        self._packing = packing
        self._writer = writer
        self._done = Done()
        self._last: tuple[str, bytes, int] | None = None
        """uid, digest and number of the file that was read last, the first one of its uid."""

    def run(self, entries: Iterator[Source | Beside]) -> Done:
        """Pack all of them."""
        done = self._done
        for one in entries:
            if isinstance(one, Beside):
                self._writer.note_big_file(one.uid, one.sha256, one.size, one.meta)
                done.files += 1
                done.big_files += 1
                done.bytes += one.size
                continue
            try:
                self._add(one, read_file(one.path, one.size))
            except (OSError, UsageError) as error:
                done.failures.append(Failure(one.number, one.uid, reason_of(error)))
        return done

    def _add(self, one: Source, data: bytes) -> None:
        done, packing = self._done, self._packing
        known, last = digest(data), self._last
        if last is not None and last[0] == one.uid:
            if last[1] != known:
                raise UsageError(other_content(last[2]))
            done.repeated += 1
            return
        self._last = (one.uid, known, one.number)
        if one.present is not None and bytes.fromhex(one.present) == known:
            done.present += 1
            return
        codec: Codec = Codec.NONE
        payload: Buffer = data
        if packing.codec is not Codec.NONE and not is_packed(one.uid):
            codec, payload = encode(data, packing.level, packing.codec)
        meta = proof.inline_meta(known) if packing.digests else None
        self._writer.append(one.uid, payload, codec, len(data), meta)
        done.files += 1
        done.bytes += len(data)
        done.stored += len(payload)


def other_content(number: int) -> str:
    """Return why an entry is not packed that says something else than entry ``number`` of the same uid and day."""
    return f"entry {number} has the same uid and day, and other content"


def read_file(path: str, size: int) -> bytes:
    """Return the content of a file. Raises OSError, and UsageError when it is not what was stated or just changes."""
    # Without waiting for whoever might write to a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        before = os.fstat(descriptor)
        check_stated(before, size)
        data = os.read(descriptor, before.st_size + 1)
        while len(data) < before.st_size and (more := os.read(descriptor, before.st_size + 1 - len(data))):
            data += more
        check_unchanged(before, os.fstat(descriptor), len(data))
    finally:
        os.close(descriptor)
    return data


def check_stated(status: os.stat_result, size: int | None) -> None:
    """Raise UsageError unless this is a regular file, of ``size`` bytes if that is known."""
    if not stat.S_ISREG(status.st_mode):
        raise UsageError("it is not a regular file")
    if size is not None and status.st_size != size:
        raise UsageError(f"it has {status.st_size} bytes, {size} were stated")


def check_unchanged(before: os.stat_result, after: os.stat_result, read: int) -> None:
    """Raise UsageError if a file of which ``read`` bytes were read changed meanwhile."""
    if read != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UsageError("it changed while it was read")


def reason_of(error: OSError | UsageError) -> str:
    """Return why a file could not be read, as the report says it."""
    return f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
