"""Archives made for tests, shard by shard, with the writer and the routes that everybody uses."""

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storefs.archive import proof, seal
from storefs.archive.routing import Route, ShardName, big_file_key, route
from storefs.core.digest import digest
from storefs.model import Codec, ObjectInfo
from storefs.ports import Body, ObjectStore
from storefs.shard.codec import encode
from storefs.shard.writer import ShardWriter

DAY = datetime(2024, 1, 1, 12, tzinfo=UTC)


@dataclass
class File:
    """A file that goes into an archive. ``proven`` gives it digests; ``block`` makes it a big file of such blocks."""

    uid: str
    content: bytes
    codec: Codec = Codec.ZSTD
    proven: bool = True
    block: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)


def place(uid: str, created_at: datetime = DAY, n_bits: int = 8) -> Route:
    return route(uid, created_at, n_bits)


def same_route(like: str, count: int, n_bits: int = 8) -> list[str]:
    """Return uids that share a route with ``like``, which is the first of them."""
    found, number = [like], 0
    while len(found) < count:
        if place(f"{like}-{number}", n_bits=n_bits).index == place(like, n_bits=n_bits).index:
            found.append(f"{like}-{number}")
        number += 1
    return found


def build(path: Path, files: Iterable[File], *, sealed: bool = True) -> dict[str, bytes]:
    """Write a shard to ``path``; return the big files that lie beside it, by key."""
    beside = {}
    with ShardWriter.create(path) as writer:
        for one in files:
            if one.block:
                blocks = [one.content[at : at + one.block] for at in range(0, len(one.content), one.block)]
                meta = proof.blocks_meta(one.block, map(digest, blocks)) if one.proven else {}
                sha256 = hashlib.sha256(one.content).hexdigest()
                writer.note_big_file(one.uid, sha256, len(one.content), dict(one.meta) | meta)
                beside[big_file_key(sha256)] = one.content
            else:
                codec, payload = encode(one.content, codec=one.codec)
                meta = proof.inline_meta(digest(one.content)) if one.proven else {}
                writer.append(one.uid, payload, codec, len(one.content), dict(one.meta) | meta)
        if sealed:
            seal.finish(writer, durable=False)
        else:
            writer.seal(durable=False)
    return beside


def shard_bytes(files: Iterable[File], *, sealed: bool = True) -> tuple[bytes, dict[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.des"
        beside = build(path, files, sealed=sealed)
        return path.read_bytes(), beside


async def put(
    store: ObjectStore, files: Sequence[File], number: int = 0, created_at: datetime = DAY, *,
    sealed: bool = True, n_bits: int = 8,
) -> str:  # fmt: skip
    """Put one shard of files that share a route into a store, with their big files; return its key."""
    (where,) = {place(one.uid, created_at, n_bits) for one in files}
    body, beside = shard_bytes(files, sealed=sealed)
    for key, content in beside.items():
        await store.put(key, content)
    key = ShardName(where, number).key
    await store.put(key, body)
    return key


async def put_all(store: ObjectStore, files: Iterable[File], created_at: datetime = DAY, n_bits: int = 8) -> list[str]:
    """Put files, each into the shard 0 of its route; return the keys of the shards."""
    groups: dict[Route, list[File]] = {}
    for one in files:
        groups.setdefault(place(one.uid, created_at, n_bits), []).append(one)
    return [await put(store, group, created_at=created_at, n_bits=n_bits) for group in groups.values()]


class Counting:
    """An ``ObjectStore`` that keeps what was asked of the one behind: the operation, the key, and the range."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.asked: list[tuple[Any, ...]] = []

    @property
    def url(self) -> str:
        return self._store.url

    def take(self) -> list[tuple[Any, ...]]:
        """Return what was asked since the last time."""
        asked, self.asked = self.asked, []
        return asked

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self.asked.append(("get", key, start, length))
        return await self._store.get(key, start, length)

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        self.asked.append(("get", key, start, len(memory)))
        return await self._store.get_into(key, start, memory)

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        self.asked.append(("list", prefix))
        return await self._store.list_after(prefix, after, limit)

    async def head(self, key: str) -> ObjectInfo:
        self.asked.append(("head", key))
        return await self._store.head(key)

    async def put(self, key: str, body: Body) -> str:
        return await self._store.put(key, body)

    async def put_if_absent(self, key: str, body: Body) -> str:
        self.asked.append(("put_if_absent", key))
        return await self._store.put_if_absent(key, body)

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        return await self._store.put_if_match(key, body, tag)

    async def delete(self, keys: Sequence[str]) -> None:
        self.asked.append(("delete", *keys))
        await self._store.delete(keys)

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        return await self._store.drop_unfinished(before_s, dry_run=dry_run)

    async def close(self) -> None:
        await self._store.close()
