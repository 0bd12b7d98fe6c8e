"""An archive for ordinary scripts: the same calls, without async, from any thread."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Self, TypeVar

import trio

from storefs.archive.bulk import Outcome, Request
from storefs.archive.reader import ArchiveReader, FileStat
from storefs.errors import StorefsError, cause_of

T = TypeVar("T")

Opener = Callable[[], AbstractAsyncContextManager[ArchiveReader]]
"""Makes a reader, and closes what it stands on at the end."""

_Items = Callable[[], AbstractAsyncContextManager[AsyncIterator[Any]]]

_CLOSED = "the archive is closed"

_END = object()
"""What a stream ends with: one that was cut off has no such end."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a stream ends with that failed."""

    error: Exception


class Archive:
    """An archive that is open: ``with Archive.open(opener) as archive: archive.get(uid, created_at)``.

    Any number of threads may use it. The work is done by a trio loop in a thread of its own; each call hands its
    question over and waits. All promises are those of ``ArchiveReader``. After ``close`` calls raise StorefsError.
    """

    def __init__(self, opener: Opener) -> None:
        """Open the archive. Raises what ``opener`` does."""
        self._opener = opener
        self._up = threading.Event()
        self._failures: list[BaseException] = []
        self._reader: ArchiveReader | None = None
        self._token: trio.lowlevel.TrioToken
        self._end: trio.Event
        self._calls: trio.Nursery
        self._thread = threading.Thread(target=self._run, name="storefs archive", daemon=True)
        self._thread.start()
        self._up.wait()
        if self._failures:
            self._thread.join()
            raise self._failures[0]

    @classmethod
    def open(cls, opener: Opener) -> Self:
        """Open the archive that ``opener`` makes a reader of. Raises what it does."""
        return cls(opener)

    def close(self) -> None:
        """End the loop and close the stores; what is under way in other threads fails. A second call does nothing."""
        if self._reader is None:
            return
        self._reader = None
        with suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(self._end.set, trio_token=self._token)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one file -----------------------------------------------------------------------------------------------------

    def get(self, uid: str, created_at: datetime) -> bytes:
        """Return a file's content; see ``ArchiveReader.get``."""
        return self._ask(self._open.get, uid, created_at)

    def get_range(self, uid: str, created_at: datetime, start: int, length: int | None = None) -> bytes:
        """Return part of a file; see ``ArchiveReader.get_range``."""
        return self._ask(self._open.get_range, uid, created_at, start, length)

    def copy_to(self, uid: str, created_at: datetime, file: BinaryIO) -> int:
        """Write a file's content to ``file``, a piece at a time; return its size. See ``ArchiveReader.copy_to``."""

        async def write(piece: bytes) -> None:
            await trio.to_thread.run_sync(file.write, piece)

        return self._ask(self._open.copy_to, uid, created_at, write)

    def stat(self, uid: str, created_at: datetime) -> FileStat:
        """Describe a file; see ``ArchiveReader.stat``."""
        return self._ask(self._open.stat, uid, created_at)

    def exists(self, uid: str, created_at: datetime) -> bool:
        """Whether there is such a file; see ``ArchiveReader.exists``."""
        return self._ask(self._open.exists, uid, created_at)

    # --- many files ---------------------------------------------------------------------------------------------------

    def get_many(self, requests: Iterable[Request]) -> Iterator[Outcome]:
        """Yield an outcome for each request, in no order; see ``ArchiveReader.get_many``."""
        known = list(requests)  # taken here: the loop's thread is no place for somebody else's iterator
        reader = self._open
        return self._stream(lambda: reader.get_many(known))

    def files(self, day: str | None = None) -> Iterator[FileStat]:
        """Yield every file of the archive, or of one day; see ``ArchiveReader.files``."""
        reader = self._open
        return self._stream(lambda: aclosing(reader.files(day)))

    def contents(self, day: str | None = None) -> Iterator[tuple[FileStat, bytes | None]]:
        """Yield every file with its content, of big files None; see ``ArchiveReader.contents``."""
        reader = self._open
        return self._stream(lambda: aclosing(reader.contents(day)))

    def __iter__(self) -> Iterator[FileStat]:
        return self.files()

    # --- the loop -----------------------------------------------------------------------------------------------------

    @property
    def _open(self) -> ArchiveReader:
        if self._reader is None:
            raise StorefsError(_CLOSED)
        return self._reader

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._failures.append(cause_of(error))
        finally:
            self._reader = None
            self._up.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._end = trio.Event()
        async with self._opener() as reader, trio.open_nursery() as self._calls:
            self._reader = reader
            self._up.set()
            await self._end.wait()
            self._calls.cancel_scope.cancel()

    def _ask(self, call: Callable[..., Awaitable[T]], *args: object) -> T:
        """Return what a call comes to, made on the loop."""
        answer: Future[T] = Future()
        self._on_loop(self._start, call, args, answer)
        return answer.result()

    def _on_loop(self, function: Callable[..., T], *args: object) -> T:
        try:
            return trio.from_thread.run_sync(function, *args, trio_token=self._token)
        except trio.RunFinishedError:
            raise StorefsError(_CLOSED) from None

    def _start(self, call: Callable[..., Awaitable[T]], args: tuple[object, ...], answer: "Future[T]") -> None:
        if self._end.is_set():
            answer.set_exception(StorefsError(_CLOSED))
        else:
            self._calls.start_soon(self._run_call, call, args, answer)

    async def _run_call(self, call: Callable[..., Awaitable[T]], args: tuple[object, ...], answer: "Future[T]") -> None:
        try:
            result = await call(*args)
        except Exception as error:
            answer.set_exception(error)
        else:
            answer.set_result(result)
        finally:
            if not answer.done():  # cancelled
                answer.set_exception(StorefsError(_CLOSED))

    def _stream(self, items: _Items) -> Iterator[Any]:
        """Yield what the loop brings, one item ahead."""
        send, receive = self._on_loop(trio.open_memory_channel[Any], 1)
        self._on_loop(self._start, self._bring, (items, send), Future())
        try:
            while (item := self._next(receive)) is not _END:
                if isinstance(item, _Failure):
                    raise item.error
                yield item
        finally:
            with suppress(StorefsError):  # closed: then nothing is brought any more
                self._on_loop(receive.close)

    def _next(self, receive: trio.MemoryReceiveChannel[Any]) -> Any:
        try:
            return self._ask(receive.receive)
        except trio.EndOfChannel:  # without an end: it was cut off
            raise StorefsError(_CLOSED) from None

    async def _bring(self, items: _Items, send: trio.MemorySendChannel[Any]) -> None:
        async with send:
            with suppress(trio.BrokenResourceError):  # nobody wants more
                try:
                    async with items() as stream:
                        async for item in stream:
                            await send.send(item)
                except trio.BrokenResourceError:
                    raise
                except Exception as error:
                    await send.send(_Failure(error))
                else:
                    await send.send(_END)
