"""A store in memory: for simulations and tests, and the shortest statement of what a store does."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from storefs.errors import ObjectMissing, PreconditionFailed
from storefs.model import ObjectInfo
from storefs.objects.bodies import body_bytes, span
from storefs.objects.names import check_key, check_prefix
from storefs.ports import Body, Clock


@dataclass(frozen=True, slots=True)
class _Held:
    """An object's content and what describes it."""

    content: bytes
    info: ObjectInfo


class MemoryObjects:
    """An ``ObjectStore`` that lives as long as this instance. Everything between two checkpoints is atomic.

    ``clock`` dates the objects; without one it is the machine's clock.
    """

    def __init__(self, name: str = "memory", clock: Clock | None = None) -> None:
        self._name = name
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._writes = 0

    @property
    def url(self) -> str:
        """``memory://name``."""
        return f"memory://{self._name}"

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return part of an object; see the port."""
        await trio.lowlevel.checkpoint()
        content = self._find(key).content
        first, end = span(len(content), start, length)
        return content[first:end]

    async def get_into(self, key: str, start: int, memory: memoryview) -> int:
        """Fill ``memory`` with part of an object."""
        content = await self.get(key, start, len(memory))
        memory[: len(content)] = content
        return len(content)

    async def put(self, key: str, body: Body) -> str:
        """Write the object, replacing any other."""
        await trio.lowlevel.checkpoint()
        return self._keep(key, body)

    async def put_if_absent(self, key: str, body: Body) -> str:
        """Write the object unless the key exists. Raises PreconditionFailed."""
        await trio.lowlevel.checkpoint()
        if check_key(key) in self._held:
            raise PreconditionFailed(f"{key} exists already in {self.url}")
        return self._keep(key, body)

    async def put_if_match(self, key: str, body: Body, tag: str) -> str:
        """Replace the object if its tag is still ``tag``. Raises PreconditionFailed."""
        await trio.lowlevel.checkpoint()
        held = self._held.get(check_key(key))
        if held is None or held.info.tag != tag:
            raise PreconditionFailed(f"{key} in {self.url} is no longer version {tag}")
        return self._keep(key, body)

    async def head(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectMissing."""
        await trio.lowlevel.checkpoint()
        return self._find(key).info

    async def list_after(self, prefix: str, after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Return the next page of a listing; see the port."""
        await trio.lowlevel.checkpoint()
        check_prefix(prefix)
        # Strings sort by code point, which is the order of their UTF-8 bytes: that of S3.
        keys = sorted(key for key in self._held if key.startswith(prefix) and key > after)
        return [self._held[key].info for key in keys[:limit]]

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects; a key that does not exist is no error."""
        await trio.lowlevel.checkpoint()
        for key in keys:
            self._held.pop(check_key(key), None)

    async def drop_unfinished(self, before_s: float, *, dry_run: bool = False) -> int:
        """Find none: what is not complete is nowhere."""
        del before_s, dry_run
        await trio.lowlevel.checkpoint()
        return 0

    async def close(self) -> None:
        """Nothing to release; the objects stay, so that a test can open the store again."""
        await trio.lowlevel.checkpoint()

    def _find(self, key: str) -> _Held:
        """Return what is held under ``key``. Raises ObjectMissing."""
        held = self._held.get(check_key(key))
        if held is None:
            raise ObjectMissing(f"no object {key} in {self.url}")
        return held

    def _keep(self, key: str, body: Body) -> str:
        """Hold ``body`` under ``key`` and return its tag, which no other write ever had."""
        check_key(key)
        content = body_bytes(body)
        self._writes += 1
        now_ns = self._clock.now_ns() if self._clock else time.time_ns()
        info = ObjectInfo(key=key, size=len(content), tag=str(self._writes), modified_s=now_ns / 1e9)
        self._held[key] = _Held(content, info)
        return info.tag
